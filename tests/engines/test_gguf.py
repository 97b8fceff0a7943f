"""The header of GGUF files: what is read of it, and what is refused."""

import struct
from pathlib import Path
from typing import Any

import pytest

from escalade.engines.base import open_engine
from escalade.engines.llamacpp.gguf import OVERHEAD, need_of, read_header
from escalade.errors import PoolError, SettingError, WeightsError
from escalade.pool import Pool, PoolModel, load_pool


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def pair(key: str, value: object) -> bytes:
    if isinstance(value, str):
        return text(key) + struct.pack("<I", 8) + text(value)
    if isinstance(value, list) and value and isinstance(value[0], str):
        return text(key) + struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(text, value))
    if isinstance(value, list):
        return text(key) + struct.pack(f"<IIQ{len(value)}I", 9, 4, len(value), *value)
    return text(key) + struct.pack("<II", 4, value)


def written(path: Path, version: int = 3, **keys: Any) -> Path:
    """A file with this header and a hundred bytes of weights; `_` in keys of the family stands for a dot."""
    pairs = [pair("general.architecture", "made")]
    pairs += [pair("tokenizer.ggml.tokens", ["a", "bc", ""] * 50)]
    pairs += [pair(f"made.{key.replace('attention_', 'attention.')}", value) for key, value in keys.items()]
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", version, 1, len(pairs)) + b"".join(pairs) + bytes(100))
    return path


SHAPE = {"block_count": 4, "embedding_length": 64, "attention_head_count": 8}


@pytest.mark.parametrize(
    ("more", "numbers"),
    [
        ({}, 4 * 8 * (8 + 8)),
        ({"attention_head_count_kv": 2}, 4 * 2 * (8 + 8)),
        ({"attention_head_count_kv": [2, 0, 1, 2]}, 5 * (8 + 8)),
        ({"attention_head_count_kv": 2, "attention_key_length": 32, "attention_value_length": 16}, 4 * 2 * (32 + 16)),
    ],
)
def test_what_a_model_takes_by_its_header(tmp_path: Path, more: dict[str, Any], numbers: int) -> None:
    path = written(tmp_path / "m.gguf", **{**SHAPE, **more})
    need = need_of(path, tokens=1000)
    assert need == (path.stat().st_size, 1000 * numbers * 2, OVERHEAD)
    assert need.total == sum(need)
    assert "tokenizer.ggml.tokens" not in read_header(path)


def test_a_header_without_what_is_needed_names_it_and_the_remedy(tmp_path: Path) -> None:
    for key in SHAPE:
        path = written(tmp_path / "m.gguf", **{k: v for k, v in SHAPE.items() if k != key})
        said = rf"m\.gguf: its header has no number made\.{key.replace('attention_', 'attention.')}, .* option memory"
        with pytest.raises(WeightsError, match=said):
            need_of(path, tokens=1)


def test_what_is_no_gguf_file_is_refused_wherever_it_ends(tmp_path: Path) -> None:
    whole = written(tmp_path / "m.gguf", **SHAPE).read_bytes()[:-100]
    path = tmp_path / "cut.gguf"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(WeightsError, match=r"cut\.gguf is no GGUF file"):
            read_header(path)
    with pytest.raises(WeightsError, match="its version is 1, known are"):
        read_header(written(path, 1, **SHAPE))
    with pytest.raises(WeightsError, match=r"gone\.gguf cannot be read: No such file"):
        read_header(tmp_path / "gone.gguf")


@pytest.mark.model
def test_the_real_one(smallest_model: Path) -> None:
    # 30 layers, 3 heads of keys and values, 576 / 9 numbers each
    assert need_of(smallest_model, tokens=2048).cache == 2048 * 30 * 3 * (64 + 64) * 2


def test_settings_are_of_engines_that_are_there_and_take_some(tmp_path: Path) -> None:
    path = tmp_path / "escalade.toml"
    model = 'route = "M"\n[[models]]\nalias = "M"\nname = "M"\nengine = "{}"\n[engines.{}]\nmemory = 2.0\n'
    path.write_text(model.format("llamacpp", "lamacpp"), encoding="utf-8")
    with pytest.raises(PoolError, match=r"engines\.lamacpp: the engines of models here are llamacpp"):
        load_pool(path)
    path.write_text(model.format("openai", "openai"), encoding="utf-8")
    with pytest.raises(SettingError, match=r"engine openai takes no settings, found memory in \[engines\.openai\]"):
        open_engine("openai", load_pool(path), seed=0)
    path.write_text(model.format("llamacpp", "llamacpp"), encoding="utf-8")
    open_engine("llamacpp", load_pool(path), seed=0)
    assert Pool(name="P", models=(PoolModel(alias="M", name="M"),)).engines == {}
