"""Opening labels, groups and features as a person names them."""

from pathlib import Path

import pandas as pd
import pytest

from escalade.errors import InputError, SettingError
from escalade.pool import load_pool
from escalade.probes.labels import Labels
from escalade.probes.opening import Request, Wanted, open_labels, open_source
from tests.probes.planted import planted
from tests.probes.test_making import made

POOL = load_pool("embedded")


def wanted(features: str, **given: object) -> Wanted:
    plain = Wanted(features, None, None, None, 2, None, Path("cache"))
    return plain._replace(**given)  # type: ignore[arg-type]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "labels.jsonl"
    rows = [{"id": f"p{n}", "successes": n % 6, "trials": 5, "source": f"book {n // 2}"} for n in range(12)]
    pd.DataFrame(rows).to_json(path, orient="records", lines=True)
    return path


@pytest.fixture
def asked(tmp_path: Path) -> Path:
    path = tmp_path / "problems.jsonl"
    rows = [{"id": f"p{n}", "problem": f"What is {n} + {n}?", "answer": "1", "source": n // 3} for n in range(10)]
    pd.DataFrame(rows).to_json(path, orient="records", lines=True)
    return path


def test_a_table_is_told_from_samples(table: Path, asked: Path) -> None:
    known = open_labels(Request(str(table), str(asked), "embedded", "0.5B"))
    assert (len(known.labels), known.labels.alias, known.opened) == (10, "0.5B", None)
    sampled = open_labels(Request("shipped", model="1.5B"))
    assert (len(sampled.labels), sampled.labels.k, sampled.sampled) == (60, 8, ("135M", "0.5B", "1.5B"))


def test_groups_by_a_column(table: Path, asked: Path) -> None:
    known = open_labels(Request(str(table), str(asked), "embedded", "0.5B", group="source"))
    assert list(known.grouped.groups) == ["0", "0", "0", "1", "1", "1", "2", "2", "2", "3"]
    assert known.grouped.by == "10 problems in 4 groups by column source"


@pytest.mark.parametrize(
    ("request_of", "said"),
    [
        (lambda t, p: Request(t, None, model="0.5B"), "have no texts of problems: give --problems FILE"),
        (lambda t, p: Request(t, p, model="7B"), "--model.*7B"),
        (lambda t, p: Request(t, p), r"say whose success is predicted \(--model ALIAS\)"),
        (lambda t, p: Request(t, p, model="0.5B", group="sauce"), "no column 'sauce'.*source"),
        (lambda t, p: Request("shipped", model="0.5B", group="level"), "--group level: .*give --problems FILE"),
        (lambda t, p: Request("shipped", model="0.5B", temperature=0.3), "no samples of 0.5B at t=0.3"),
        (lambda t, p: Request("nowhere.sqlite", model="0.5B"), "nowhere.sqlite"),
    ],
)
def test_what_cannot_be_opened_is_named(table: Path, asked: Path, request_of: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        open_labels(request_of(str(table), str(asked)))  # type: ignore[operator]


def test_a_probe_finds_labels_of_its_model(table: Path, asked: Path) -> None:
    probe = made(planted(60)).probe
    with pytest.raises(SettingError, match=r"has no labels of it, but of 0\.5B, 1\.5B"):
        open_labels(Request(str(table), str(asked), "embedded"), of=probe)


@pytest.mark.parametrize(
    ("asked_for", "said"),
    [
        (wanted("texts"), "--features is 'texts': give text, hidden, embedding.*text"),
        (wanted("embedding"), "--encoder and --features embedding go together"),
        (wanted("text", encoder="x.gguf"), "--encoder and --features embedding go together"),
        (wanted("text", layers="3"), "--layers is of hidden states"),
        (wanted("hidden", layers="3,x"), "--layers is '3,x': give numbers"),
        (wanted("hidden", reads="9B"), "--reads: .*9B"),
    ],
)
def test_features_that_do_not_go_together(asked_for: Wanted, said: str) -> None:
    with pytest.raises(SettingError, match=said):
        open_source(asked_for, POOL, "0.5B")


def test_states_are_those_of_the_model_or_of_another() -> None:
    own, other = open_source(wanted("hidden"), POOL, "0.5B"), open_source(wanted("hidden", reads="1.5B"), POOL, "0.5B")
    assert own.model is not None and other.model is not None
    assert (own.model.alias, other.model.alias) == ("0.5B", "1.5B")
    assert open_source(wanted("hidden", layers="12, 3,12"), POOL, "0.5B").layers == (3, 12)


def test_labels_say_where_they_are_from(table: Path, asked: Path) -> None:
    found: Labels = open_labels(Request(str(table), str(asked), "embedded", "0.5B")).labels
    assert found.source == str(table)
