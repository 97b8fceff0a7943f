"""Checkpoint folders: what must be in them, what tells them apart, what of the hub is known to be missing."""

import sys
import types
from pathlib import Path

import pytest

from escalade.errors import WeightsError
from escalade.pool import PoolModel
from escalade.weights import checkpoint
from escalade.weights.checkpoint import SMALL, print_of_checkpoint, refuse_if_unreachable, require_checkpoint

MODEL = PoolModel(alias="M", name="maker/M")


def folder_of(place: Path, **files: bytes) -> Path:
    place.mkdir()
    for name, body in files.items():
        (place / name.replace("__", ".")).write_bytes(body)
    return place


def test_a_home_folder_may_be_written_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    whole = folder_of(tmp_path / "m", config__json=b"{}", model__safetensors=b"x")
    assert require_checkpoint(Path("~/m"), alias="M") == whole


def test_prints_see_names_sizes_and_contents(tmp_path: Path) -> None:
    one = print_of_checkpoint(folder_of(tmp_path / "a", config__json=b"{}", model__safetensors=b"12"))
    assert one == print_of_checkpoint(folder_of(tmp_path / "b", config__json=b"{}", model__safetensors=b"12"))
    others = [
        folder_of(tmp_path / "c", config__json=b"{ }", model__safetensors=b"12"),
        folder_of(tmp_path / "d", config__json=b"{}", model__safetensors=b"13"),
        folder_of(tmp_path / "e", config__json=b"{}", other__safetensors=b"12"),
        folder_of(tmp_path / "f", config__json=b"{}", model__safetensors=b"12", extra__txt=b""),
    ]
    assert len({one, *map(print_of_checkpoint, others)}) == 5


def test_prints_of_large_files_see_pieces_and_both_ends(tmp_path: Path) -> None:
    size = SMALL + 12345

    def print_with(change: int | None) -> str:
        body = bytearray(size)
        if change is not None:
            body[change] = 1
        place = tmp_path / f"m{change}"
        return print_of_checkpoint(folder_of(place, model__safetensors=bytes(body)))

    assert len({print_with(None), print_with(0), print_with(size - 1), print_with(size // 255)}) == 4


def test_hidden_files_and_folders_are_no_part_of_a_print(tmp_path: Path) -> None:
    place = folder_of(tmp_path / "m", config__json=b"{}")
    before = print_of_checkpoint(place)
    (place / ".cache").mkdir()
    (place / ".gitattributes").write_bytes(b"x")
    (place / "original").mkdir()
    assert print_of_checkpoint(place) == before


def test_a_print_of_what_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"checkpoint .*gone cannot be read"):
        print_of_checkpoint(tmp_path / "gone")


@pytest.mark.parametrize(
    ("found", "environment", "refused"),
    [
        (None, {"HF_HUB_OFFLINE": "1"}, True),
        (None, {"TRANSFORMERS_OFFLINE": "true"}, True),
        ("/cache/config.json", {"HF_HUB_OFFLINE": "1"}, False),
        (object(), {"HF_HUB_OFFLINE": "1"}, True),  # known not to exist
        (None, {"HF_HUB_OFFLINE": "0"}, False),  # it may be fetched
        (None, {}, False),
    ],
)
def test_a_model_of_the_hub_is_refused_only_where_it_is_known_to_be_missing(
    found: object, environment: dict[str, str], refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = types.ModuleType("huggingface_hub")
    hub.try_to_load_from_cache = lambda name, file, revision: found  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    monkeypatch.setattr(checkpoint.importlib.util, "find_spec", lambda name: object())
    if refused:
        with pytest.raises(WeightsError, match=r"maker/M is not in the cache of the hub, and HF_HUB_OFFLINE"):
            refuse_if_unreachable(MODEL, None, environment)
    else:
        refuse_if_unreachable(MODEL, None, environment)
