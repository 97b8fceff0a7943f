"""Labels from samples and from tables."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from escalade.errors import ScoreError, SettingError, TableError
from escalade.evaluation.bank import Bank
from escalade.probes.labels import Labels, labels_of, read_labels
from tests.evaluation.pools import single
from tests.probes.planted import problems

ASKED = problems(["one?", "two?", "three?"])


def read(folder: Path, k: int | None = 5, **columns: object) -> Labels:
    path = folder / "labels.csv"
    pd.DataFrame({"id": ["p2", "p0", "p1", "p9"], **columns}).to_csv(path, index=False)
    return read_labels(path, ASKED, "S", temperature=0.7, k=k)


def test_samples_give_rates_and_the_vote_of_all() -> None:
    bank = single({"S": ["1", "1", "2", None], "L": ["2", "2", "1"]}, gold="1")
    small, large = labels_of(bank, "S"), labels_of(bank, "L")
    assert (small.target("rate").rate.tolist(), small.target("majority").rate.tolist()) == ([0.5], [1.0])
    assert (large.target("rate").rate.tolist(), large.target("majority").rate.tolist()) == ([1 / 3], [0.0])
    assert (small.kind, small.k, large.k) == ("rate", 4, 3)


def test_a_recording_may_be_of_several_temperatures() -> None:
    bank = Bank.of_recording("shipped")
    assert (labels_of(bank, "1.5B").temperature, labels_of(bank, "1.5B").k) == (0.7, 8)
    assert (labels_of(bank, "1.5B", 0.0).temperature, labels_of(bank, "1.5B", 0.0).k) == (0.0, 1)
    with pytest.raises(TableError, match=r"no samples of 1\.5B at t=0\.3: there are .*1\.5B at t=0\.7"):
        labels_of(bank, "1.5B", 0.3)


def test_a_table_is_joined_by_id(tmp_path: Path) -> None:
    found = read(tmp_path, successes=[3, 1, 2, 9], trials=[4, 5, 6, 9])
    assert found.successes is not None
    assert (found.successes.tolist(), found.trials.tolist()) == ([1, 2, 3], [5, 6, 4])
    assert found.target("rate").rate.tolist() == [0.2, 2 / 6, 0.75]


@pytest.mark.parametrize("digits", [2, 16])
def test_a_rate_is_a_number_of_samples(tmp_path: Path, digits: int) -> None:
    rates = [round(c / 25, digits) for c in (7, 0, 25, 3)]  # 0.28 * 25 is 7.000000000000001
    found = read(tmp_path, k=25, success_rate=rates)
    assert found.successes is not None
    assert found.successes.tolist() == [0, 25, 7]


def test_majorities_alone_are_enough(tmp_path: Path) -> None:
    found = read(tmp_path, k=8, majority_correct=[1, 0, 1, 0])
    assert (found.kind, found.k, found.target("majority").rate.tolist()) == ("majority", 8, [0, 1, 1])
    with pytest.raises(SettingError, match="--label majority"):
        found.target("rate")
    with pytest.raises(SettingError, match="--label rate"):
        read(tmp_path, success_rate=[0, 1, 0, 1]).target("majority")


@pytest.mark.parametrize(
    ("columns", "k", "said"),
    [
        ({"success_rate": [0.5, 1.3, 0.0, 0]}, 5, "problem 'p0', column 'success_rate': the label is '1.3'"),
        ({"success_rate": [0.5, "?", 0.0, 0]}, 5, "problem 'p0', column 'success_rate': the label is"),
        ({"success_rate": [0.5, None, 0.0, 0]}, 2, "problem 'p0', column 'success_rate': the label is"),
        ({"success_rate": [0.4, 0.4, 0.4, 0]}, 3, "problem 'p0', column 'success_rate': that are 1.2 samples"),
        ({"success_rate": [0.4, 0.4, 0.4, 0]}, None, "give --k N"),
        ({"successes": [1, 6, 2, 2], "trials": [5] * 4}, None, "'p0' has more successes than trials"),
        ({"successes": [1, 2, 2, 2], "trials": [5, 0, 5, 5]}, None, "column 'trials': the label is '0'"),
        ({"successes": [1, 2.5, 2, 2]}, 5, "'p0', column 'successes': that are 2.5 samples"),
        ({"majority_correct": [1, 0.5, 0, 1]}, 5, "'p0', column 'majority_correct' is 0.5: give 0 or 1"),
        ({"right": [1, 0, 0, 1]}, 5, "has no labels: .*it has id, right"),
    ],
)
def test_what_cannot_be_a_label_is_named(tmp_path: Path, columns: dict[str, object], k: int | None, said: str) -> None:
    with pytest.raises(ScoreError, match=said):
        read(tmp_path, k, **columns)


def test_every_problem_needs_one_row(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    pd.DataFrame({"id": ["p0", "p1"], "success_rate": [0, 1]}).to_json(path, orient="records", lines=True)
    with pytest.raises(ScoreError, match="no label of problem 'p2'"):
        read_labels(path, ASKED, "S", temperature=0.7, k=1)
    pd.DataFrame({"id": ["p0", "p0"], "success_rate": [0, 1]}).to_json(path, orient="records", lines=True)
    with pytest.raises(ScoreError, match="id 'p0' stands twice"):
        read_labels(path, ASKED, "S", temperature=0.7, k=1)
    pd.DataFrame({"name": ["p0"], "success_rate": [0]}).to_json(path, orient="records", lines=True)
    with pytest.raises(ScoreError, match="no id column"):
        read_labels(path, ASKED, "S", temperature=0.7, k=1)


def test_some_of_them(tmp_path: Path) -> None:
    found = read(tmp_path, successes=[3, 1, 2, 9], majority_correct=[1, 0, 1, 0])
    some = found.of([2, 0])
    assert [problem.id for problem in some.problems] == ["p2", "p0"]
    assert some.successes is not None and some.majority is not None
    assert (some.successes.tolist(), some.majority.tolist(), len(some)) == ([3, 1], [1, 0], 2)
    assert np.all(some.trials == 5)
