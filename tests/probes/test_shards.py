"""Vectors kept on disk."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from escalade.errors import StoreError
from escalade.probes.shards import FLUSH, Row, Shards, gathered, text_hash
from escalade.problems import Problem


def lengths(texts: Mapping[int, str]) -> Iterator[tuple[int, Row]]:
    """The longest first: computed in another order than asked."""
    for place in sorted(texts, key=lambda place: -len(texts[place])):
        yield place, Row(np.array([len(texts[place]), place], np.float32), len(texts[place]))


def test_a_text_is_kept_under_its_problems_fingerprint() -> None:
    assert text_hash("2 + 2?") == Problem("p", "2 + 2?").fingerprint


def test_what_was_kept_is_read_again_and_only_the_rest_computed(tmp_path: Path) -> None:
    asked: list[list[str]] = []

    def noted(texts: Mapping[int, str]) -> Iterator[tuple[int, Row]]:
        asked.append(list(texts.values()))
        return lengths(texts)

    def get(texts: list[str]) -> list[float]:
        rows = gathered(texts, noted, shards=Shards(tmp_path, {"of": "test"}), progress=None)
        return [float(row.vector[0]) for row in rows]

    assert get(["a", "bcd", "a"]) == [1.0, 3.0, 1.0]
    assert get(["ef", "bcd", "ef", "a"]) == [2.0, 3.0, 2.0, 1.0]
    assert get(["bcd"]) == [3.0]
    assert asked == [["a", "bcd"], ["ef"]]


def test_keys_do_not_share(tmp_path: Path) -> None:
    Shards(tmp_path, {"layers": [1]}).keep({"a": Row(np.ones(2, np.float32), 3)})
    assert Shards(tmp_path, {"layers": [2]}).rows == {}
    assert Shards(tmp_path, {"layers": [1]}).rows["a"].tokens == 3


@pytest.mark.parametrize("broken", [KeyboardInterrupt, ValueError])
def test_an_interrupted_one_goes_on_where_it_was(tmp_path: Path, broken: type[BaseException]) -> None:
    texts = [f"text {n:03d}" for n in range(FLUSH + 20)]

    def breaks(missing: Mapping[int, str]) -> Iterator[tuple[int, Row]]:
        for done, one in enumerate(lengths(missing)):
            if done == FLUSH + 10:
                raise broken
            yield one

    with pytest.raises(broken):
        gathered(texts, breaks, shards=Shards(tmp_path, {}), progress=None)
    left: list[int] = []

    def rest(missing: Mapping[int, str]) -> Iterator[tuple[int, Row]]:
        left.append(len(missing))
        return lengths(missing)

    told: list[tuple[int, int]] = []
    shards = Shards(tmp_path, {})
    rows = gathered(texts, rest, shards=shards, progress=lambda done, total: told.append((done, total)))
    assert left == [10]
    assert told == [(n, FLUSH + 20) for n in range(FLUSH + 10, FLUSH + 21)]
    assert [row.tokens for row in rows] == [8] * len(texts)
    assert {int(row.vector[1]) for row in rows} == set(range(len(texts)))


@pytest.mark.parametrize("harm", ["cut", "flipped", "moved", "nonsense"])
def test_a_damaged_shard_is_an_error_that_says_what_to_do(tmp_path: Path, harm: str) -> None:
    shards = Shards(tmp_path, {"of": "test"})
    shards.keep({"a": Row(np.arange(100, dtype=np.float32), 3)})
    (path,) = shards.folder.glob("*.safetensors")
    body = bytearray(path.read_bytes())
    if harm == "cut":
        path.write_bytes(body[:-40])
    elif harm == "flipped":
        body[-40] ^= 1
        path.write_bytes(body)
    elif harm == "nonsense":
        path.write_bytes(b"nonsense")
    else:
        other = Shards(tmp_path, {"of": "other"})
        other.keep({"a": Row(np.ones(1, np.float32), 1)})
        (stray,) = other.folder.glob("*.safetensors")
        stray.rename(path)
    with pytest.raises(StoreError, match=r"shard .*safetensors is (damaged|not of this cache's key).*: delete it"):
        Shards(tmp_path, {"of": "test"})
    path.unlink()
    assert Shards(tmp_path, {"of": "test"}).rows == {}


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder", encoding="utf-8")
    with pytest.raises(StoreError, match=r"cache .*file.* cannot be written"):
        Shards(tmp_path / "file", {}).keep({"a": Row(np.ones(1, np.float32), 1)})
