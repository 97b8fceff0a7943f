"""A probe's file: the same when read again, never run, and refused where it does not fit."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import numpy as safetensors

from escalade.errors import ScoreError, SettingError
from escalade.pool import Prompt
from escalade.probes.probe import Probe, read_probe
from escalade.problems import Problem
from tests.probes.planted import POOL, planted
from tests.probes.test_making import made, texts_of


@pytest.fixture(scope="module")
def probe() -> Probe:
    return made(planted(120)).probe


@pytest.fixture
def file(probe: Probe, tmp_path: Path) -> Path:
    path = tmp_path / "probe.safetensors"
    probe.write(path)
    return path


def changed(file: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """The same file with other words about it."""
    raw = file.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    about = json.loads(json.loads(raw[8 : 8 + size])["__metadata__"]["escalade.probe"])
    change(about)
    file.write_bytes(safetensors.save(safetensors.load(raw), {"escalade.probe": json.dumps(about)}))
    return file


def with_tensors(file: Path, **tensors: np.ndarray) -> Path:
    raw = file.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    kept = json.loads(raw[8 : 8 + size])["__metadata__"]
    file.write_bytes(safetensors.save({**safetensors.load(raw), **tensors}, kept))
    return file


def test_it_is_read_as_it_was_written(probe: Probe, file: Path) -> None:
    again = read_probe(file)
    assert again.about == probe.about
    assert again.sha256 == probe.sha256
    x = planted(50, seed=9).blocks[1].values
    lines = len(probe.lines)
    assert again.raw_of([x] * lines).tolist() == probe.raw_of([x] * lines).tolist()
    again.write(file)
    assert read_probe(file).sha256 == probe.sha256


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path("ran").touch, ())


@pytest.mark.parametrize(
    "content",
    [pickle.dumps(Bomb()), b"", b"\x00" * 40, b"\xff" * 8 + b"{}", b"PAR1", b"{}", (2**62).to_bytes(8, "little")],
    ids=["pickle", "empty", "zeros", "huge header", "parquet", "json", "no header"],
)
def test_what_is_no_probe_is_refused_and_not_run(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "p.safetensors"
    path.write_bytes(content)
    with pytest.raises(SettingError, match=r"p\.safetensors is no probe: .*escalade probe train"):
        read_probe(path)
    assert not (tmp_path / "ran").exists()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"nowhere\.safetensors cannot be read: No such file"):
        read_probe(tmp_path / "nowhere.safetensors")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda about: about.update(colour="red"), "colour"),
        (lambda about: about.pop("alias"), "alias"),
        (lambda about: about["held_out"].update(aurok=1), "aurok"),
        (lambda about: about.update(slope=-1.0), "slope"),
        (lambda about: about.update(members=[]), "members"),
        (lambda about: about.update(problems=about["problems"][:-1]), "not the fingerprint of the problems"),
        (lambda about: about.update(reading=None), "names what it reads"),
        (lambda about: about.update(format="escalade probe 2"), "format"),
    ],
)
def test_words_that_do_not_fit_are_named(file: Path, change: Callable[[dict[str, Any]], object], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        read_probe(changed(file, change))


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({"weights": np.full((1, 8), np.nan)}, "NaN or infinite"),
        ({"biases": np.zeros(3)}, r"biases \(3,\)"),
        ({"weights": np.zeros((2, 8))}, r"weights \(2, 8\)"),
        ({"more": np.zeros(1)}, "biases, idf, more, weights"),
    ],
)
def test_numbers_that_do_not_fit_are_named(file: Path, tensors: dict[str, np.ndarray], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        read_probe(with_tensors(file, **tensors))


def test_a_pool_without_its_model_is_refused(probe: Probe) -> None:
    assert probe.check(POOL).alias == "S"
    other = POOL.model_copy(update={"models": (POOL["L"],)})
    with pytest.raises(ScoreError, match=r"does not have \(it has test/L\)".replace("test/L", POOL["L"].name)):
        probe.check(other)


def test_a_pool_that_asks_otherwise_is_refused(probe: Probe) -> None:
    shorter = POOL.model_copy(update={"max_tokens": POOL.max_tokens + 1})
    with pytest.raises(
        ScoreError, match=r"does not fit pool .*token limit was 1024, now it is 1025.*train a probe on samples of this"
    ):
        probe.check(shorter)
    asked = POOL.model_copy(update={"prompt": "other", "prompts": {"other": Prompt(system="Guess.", user="{problem}")}})
    with pytest.raises(ScoreError, match="prompt"):
        probe.check(asked)


def test_problems_are_known_again_by_their_text(probe: Probe) -> None:
    asked = [Problem("other id", texts_of(1)[0]), Problem("p0", "a new text")]
    assert probe.seen(asked) == [True, False]


def test_a_place_that_cannot_be_written_is_named(probe: Probe, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"cannot be written: No such file"):
        probe.write(tmp_path / "no" / "p.safetensors")
