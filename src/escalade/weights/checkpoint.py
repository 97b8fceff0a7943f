"""Checkpoints: folders with a config, a tokenizer and weights, as transformers and vLLM read them.

This module reads files and the local cache of the model hub. It fetches nothing and loads no model.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path

from escalade.errors import WeightsError
from escalade.pool import PoolModel

WEIGHTS = ("*.safetensors", "*.bin", "*.gguf")
"""What files with weights are called."""
SMALL = 2**24
"""Bytes up to which a file is hashed as a whole (configs, tokenizers)."""
PLACES = 256
"""Pieces that a larger file is hashed at, the last bytes among them."""
PIECE = 2**14
"""Bytes of each."""


def require_checkpoint(folder: Path, *, alias: str) -> Path:
    """Return the folder of a checkpoint, `~` expanded.

    Raises:
        WeightsError: it is not there, or lacks its config or weights.
    """
    folder = folder.expanduser().absolute()
    where = f"weights of model {alias!r}: option path says they are in {folder}, "
    if not folder.is_dir():
        raise WeightsError(f"{where}but no folder is there; put the checkpoint there, or correct the option")
    if not (folder / "config.json").is_file():
        raise WeightsError(f"{where}but there is no config.json; give the folder that holds the checkpoint's files")
    if not any(True for pattern in WEIGHTS for _ in folder.glob(pattern)):
        raise WeightsError(f"{where}but there are no weights ({', '.join(WEIGHTS)}); were they fetched as a whole?")
    return folder


def print_of_checkpoint(folder: Path) -> str:
    """Return what tells two checkpoints apart, wherever they lie: sha256 over names, sizes and contents.

    Of a file above 16 MiB, 256 pieces of 16 KiB spread evenly are read, not all of it: models of many gigabytes are
    told apart in a moment, unless they differ in a few tensors only.

    Raises:
        WeightsError: a file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        for path in sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")):
            size = path.stat().st_size
            digest.update(f"{path.name}\0{size}\0".encode())
            with path.open("rb") as file:
                if size <= SMALL:
                    digest.update(file.read())
                    continue
                for place in range(PLACES):
                    file.seek(place * (size - PIECE) // (PLACES - 1))
                    digest.update(file.read(PIECE))
    except OSError as error:
        raise WeightsError(f"checkpoint {folder} cannot be read: {error.strerror or error}") from error
    return digest.hexdigest()


def refuse_if_unreachable(model: PoolModel, revision: str | None, environment: Mapping[str, str]) -> None:
    """Refuse a model of a hub that is not on this machine where the environment forbids to fetch it.

    Raises:
        WeightsError: it is offline (HF_HUB_OFFLINE) and the hub's cache does not have the model.
    """
    offline = any(
        environment.get(name, "").strip().upper() in ("1", "ON", "YES", "TRUE")
        for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    )
    if not offline or Path(model.name).is_dir() or importlib.util.find_spec("huggingface_hub") is None:
        return
    hub = importlib.import_module("huggingface_hub")
    try:
        found = hub.try_to_load_from_cache(model.name, "config.json", revision=revision)
    except ValueError:  # no name of a repository: nothing the hub could have
        found = None
    if not isinstance(found, str | os.PathLike):
        raise WeightsError(
            f"weights of model {model.alias!r}: {model.name} is not in the cache of the hub, and HF_HUB_OFFLINE "
            "forbids to fetch it; fetch it, or give its folder as option path"
        )
