"""Options of a model that vLLM answers for, and the published settings of the models that have some."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, StrictInt, ValidationError

from escalade.errors import SettingError, nearest
from escalade.pool import PoolModel

OURS: Mapping[str, str] = {
    "model": "the pool",
    "tokenizer": "option path",
    "revision": "option revision",
    "seed": "option seed",
    "tensor_parallel_size": "option gpus",
    "gpu_memory_utilization": "option memory",
    "max_model_len": "option context",
    "max_num_seqs": "option in_flight",
    "dtype": "option dtype",
    "quantization": "option quantization",
    "enable_sleep_mode": "option sleep",
}
"""Arguments of vLLM's engine that `args` may not set, and what does."""
PUBLISHED: Mapping[str, Mapping[str, Any]] = {
    "Qwen/Qwen2.5-Math-1.5B-Instruct": {"gpus": 1, "memory": 0.60, "context": 4096},
    "Qwen/Qwen2.5-Math-7B-Instruct": {"gpus": 1, "memory": 0.60, "context": 4096},
    "Qwen/Qwen2.5-Math-72B-Instruct": {"gpus": 2, "memory": 0.90, "context": 4096},
}
"""Settings that models were published with; options of a pool go before them."""
QUIET = frozenset({"kv_cache_memory_bytes", "disable_log_stats", "enable_log_requests", "block_size", "device_ids"})
"""Arguments that no sample shows."""


def _args(args: Mapping[str, Any]) -> Mapping[str, Any]:
    for name in args:
        if name in OURS:
            raise ValueError(f"{name} cannot be set here: {OURS[name]} does it")
    try:
        json.dumps(args, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"holds what is no plain value: {error}") from None
    return args


class Options(BaseModel):
    """Options of a model that vLLM answers for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path | None = None
    """Folder of the checkpoint; else the model's `name` is looked up at the hub."""
    revision: str | None = Field(default=None, min_length=1)
    """Commit, tag or branch at the hub."""
    gpus: int = Field(default=1, ge=1, le=1024)
    """GPUs that the model is spread over (tensor parallel)."""
    memory: float = Field(default=0.90, gt=0, le=1, allow_inf_nan=False)
    """Share of each GPU's memory for weights and cache; of the machine's memory in vLLM's CPU build."""
    context: int | None = Field(default=None, ge=16)
    """Tokens of prompt and answer together; the model's own limit where not given."""
    dtype: str = Field(default="auto", min_length=1)
    """Number format of the weights: auto, bfloat16, float16, float32."""
    quantization: str | None = Field(default=None, min_length=1)
    """Name of a method that vLLM knows; else what the checkpoint says."""
    in_flight: int = Field(default=256, ge=1, le=4096)
    """Requests under way at once."""
    seed: Literal["request", "engine"] = "request"
    """Each request its own seed, or one for the whole engine: samples then depend on what else is drawn."""
    sleep: Annotated[StrictInt, Field(ge=0, le=2)] = 1
    """What a rest does: 0 nothing, 1 weights go to the machine's memory, 2 weights are dropped and read anew."""
    chat: StrictBool = True
    """Whether the tokenizer's chat template is used; else the texts of the messages are joined."""
    restart: float = Field(default=300.0, ge=0, le=86400, allow_inf_nan=False)
    """Seconds in which an engine that died is started anew no more than once."""
    args: Annotated[Mapping[str, Any], AfterValidator(_args)] = {}
    """Further arguments of vLLM's engine (AsyncEngineArgs)."""
    identity: str | None = Field(default=None, min_length=1)
    """What answers. Models of one identity share samples; else contents of `path`, or name and revision tell."""

    @property
    def mark(self) -> str:
        """A hash of the options that change samples."""
        changing = {
            "dtype": self.dtype,
            "quantization": self.quantization,
            "seed": self.seed,
            "chat": self.chat,
            "args": {name: value for name, value in self.args.items() if name not in QUIET},
        }
        return hashlib.sha256(json.dumps(changing, sort_keys=True).encode()).hexdigest()[:16]


def options_of(model: PoolModel) -> Options:
    """Return the options of a model; those that another engine's model has are not ours, and mean nothing here.

    Raises:
        SettingError: an option is unknown or cannot be used.

    Example:
        >>> options_of(PoolModel(alias="72B", name="Qwen/Qwen2.5-Math-72B-Instruct", engine="vllm")).gpus
        2
    """
    mine = dict(model.options) if model.engine == "vllm" else {}
    try:
        return Options.model_validate({**PUBLISHED.get(model.name, {}), **mine})
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        known = f"; known are {', '.join(Options.model_fields)}{nearest(place, Options.model_fields)}"
        said = f"unknown{known}" if first["type"] == "extra_forbidden" else first["msg"].removeprefix("Value error, ")
        raise SettingError(f"model {model.alias}: option {place!r} of engine vllm: {said}") from error
