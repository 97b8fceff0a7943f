"""One checkpoint that gives hidden states of all its layers, through transformers in this process.

Prompts are computed in batches of like length, padded on the side that the checkpoint's tokenizer says. Where a prompt
ends is read off the attention mask, so the side does not matter. Nothing is cut. What all prompts begin with (a system
text, worked examples) is computed once, for models whose layers all attend to everything before; of the rest no keys
and values are kept.
"""

from __future__ import annotations

import copy
import gc
import inspect
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from escalade.engines import transformers as engine
from escalade.engines.llamacpp.options import options_of as llamacpp_options
from escalade.engines.vllm.options import options_of as vllm_options
from escalade.errors import EngineError, SettingError
from escalade.pool import Pool, PoolModel
from escalade.probes.layers import chosen_layers
from escalade.probes.llama import depth_of
from escalade.weights import require
from escalade.weights.checkpoint import WEIGHTS, require_checkpoint

BATCH = 2048
"""Tokens of a batch, padding among them; one prompt may have more."""
MOST = 2**29
"""Bytes of the hidden states that a batch may have, over all layers, and of its copies of what is shared; again, one
prompt may have more."""
WORTH = 16
"""Tokens from which on what all prompts begin with is computed once."""
_STRETCHED = ("dynamic", "longrope")
"""Ways to number positions that depend on how long a text is as a whole."""


class Source(NamedTuple):
    """Where a checkpoint is and how it is read."""

    alias: str
    place: str
    """A folder, or a name at the hub."""
    file: str | None = None
    """The GGUF file in that folder, whose weights are then written out as float32."""
    revision: str | None = None
    dtype: str = "auto"
    device: str = "cpu"
    chat: bool = True
    context: int | None = None


def source_of(model: PoolModel, pool: Pool) -> Source:
    """Return where the weights of a model of engine transformers, vllm or llamacpp are.

    Raises:
        WeightsError: they are not there.
        SettingError: the model's options are wrong, or its engine keeps its weights elsewhere.
    """
    name = model.engine.partition(":")[0]
    if name == "llamacpp":
        path = require(model, pool=pool.name)
        return Source(
            model.alias, str(path.parent), path.name, dtype="float32", context=llamacpp_options(model).context
        )
    if name not in ("transformers", "vllm"):
        raise SettingError(
            f"model {model.alias}: engine {name} has its weights elsewhere, so no hidden states can be read; describe "
            "the model in the pool with engine llamacpp, transformers or vllm"
        )
    options = engine.options_of(model) if name == "transformers" else vllm_options(model)
    place = model.name if options.path is None else str(require_checkpoint(options.path, alias=model.alias))
    device = options.device if isinstance(options, engine.Options) else "cpu"
    return Source(model.alias, place, None, options.revision, options.dtype, device, options.chat, options.context)


class _Start(NamedTuple):
    """What all prompts begin with, computed."""

    tokens: int = 0
    cache: Any = None
    """Keys and values of these tokens."""
    at_once: int = 2**31
    """Prompts that may have a copy of it at the same time."""


class CheckpointReader:
    """Hidden states of one checkpoint. Weights are read when they are needed; close it to free them.

    A checkpoint of 16-bit numbers is read as float32 on a CPU where that takes no more than half of the machine's
    memory, so that what stands beside a prompt in its batch does not show; else as it is.

    Raises:
        EngineError: transformers cannot read the checkpoint.
        SettingError: transformers is not installed, or there is no such layer.
    """

    def __init__(self, source: Source, *, layers: Sequence[int] | None, positions: Sequence[int]) -> None:
        os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
        try:
            import torch
            import transformers
        except ImportError as error:
            raise SettingError(
                f"hidden states of {source.alias} need transformers and torch: pip install 'escalade[transformers]' "
                f"({error})"
            ) from error
        self._torch, self._library, self._source = torch, transformers, source
        if source.file is not None:
            depth = depth_of(Path(source.place) / source.file)
            self.limit, stored = source.context, "float32"
        else:
            config = self._load(transformers.AutoConfig).get_text_config()
            depth = config.num_hidden_layers
            self.limit = min(
                filter(None, (source.context, getattr(config, "max_position_embeddings", None))), default=None
            )
            stored = str(getattr(config, "dtype", None) or "float32").removeprefix("torch.")
        self._dtype = source.dtype if source.dtype != "auto" else _dtype(source, stored)
        self.name = f"transformers {self._dtype}"
        self.layers, self._positions = chosen_layers(layers, depth, alias=source.alias), tuple(positions)
        self._depth = depth

    def prompts(self, chats: Sequence[Sequence[Mapping[str, str]]]) -> list[list[int]]:
        """Return the tokens of each chat as the engine would send them."""
        chat, alias = self._source.chat, self._source.alias
        return [engine.prompt_ids(self._tokenizer, messages, chat=chat, alias=alias) for messages in chats]

    def read(self, prompts: Sequence[Sequence[int]]) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Yield the place of each prompt and its states [L, P, D], the shortest first.

        Raises:
            EngineError: the model failed, or gave numbers that are none.
        """
        width = self._net.config.get_text_config().hidden_size
        most = max(1, min(BATCH, MOST // ((self._depth + 1) * width * self._net.dtype.itemsize)))
        start = self._start(prompts)
        lengths = [len(prompt) - start.tokens for prompt in prompts]
        for batch in batches(lengths, most=most, at_once=start.at_once):
            values = self._states([prompts[place][start.tokens :] for place in batch], start)
            if not np.isfinite(values).all():
                raise EngineError(
                    f"transformers gave hidden states of {self._source.alias} that are not finite numbers in "
                    f"{self._dtype}: set option dtype = 'float32' of the model"
                )
            yield from zip(batch, values, strict=True)

    def close(self) -> None:
        """Free the model."""
        self.__dict__.pop("_net", None)
        gc.collect()
        if self._torch.cuda.is_available():
            self._torch.cuda.empty_cache()

    def _start(self, prompts: Sequence[Sequence[int]]) -> _Start:
        """Compute what all prompts begin with, where that saves something and changes nothing."""
        tokens = min(common_start(prompts), min(map(len, prompts)) - len(self._positions))
        config = self._net.config.get_text_config()
        rope = getattr(config, "rope_parameters", None) or {}
        stretched = isinstance(rope, Mapping) and rope.get("rope_type") in _STRETCHED
        if len(prompts) < 2 or tokens < WORTH or stretched or not {"past_key_values", "position_ids"} <= self._takes:
            return _Start()
        ids = self._torch.tensor([list(prompts[0][:tokens])], device=self._source.device)
        try:
            with self._torch.inference_mode():
                cache = self._net(input_ids=ids, use_cache=True, return_dict=True).past_key_values
        except (RuntimeError, ValueError, IndexError) as error:
            raise EngineError(f"transformers failed on {self._source.alias}: {error}") from error
        layers = getattr(cache, "layers", None)
        if not layers or any(type(layer).__name__ != "DynamicLayer" for layer in layers):
            return _Start()  # a window, a state or a quantised cache: computed whole, as it was meant
        size = sum(layer.keys.nbytes + layer.values.nbytes for layer in layers)
        return _Start(tokens, cache, max(1, MOST // size))

    def _states(self, prompts: Sequence[Sequence[int]], start: _Start) -> NDArray[np.float32]:
        """States [B, L, P, D] of one batch, given how the prompts go on behind what they share."""
        torch, device = self._torch, self._source.device
        longest = max(map(len, prompts))
        ids = torch.full((len(prompts), longest), self._tokenizer.pad_token_id or 0, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            first = longest - len(prompt) if self._tokenizer.padding_side == "left" else 0
            ids[row, first : first + len(prompt)] = torch.tensor(prompt)
            mask[row, first : first + len(prompt)] = 1
        whole = torch.cat([torch.ones((len(prompts), start.tokens), dtype=torch.long), mask], dim=1)
        given = {"input_ids": ids.to(device), "attention_mask": whole.to(device), "use_cache": start.cache is not None}
        if "position_ids" in self._takes:
            given["position_ids"] = (start.tokens + mask.cumsum(1) - 1).clamp(min=0).to(device)
        if start.cache is not None:
            given["past_key_values"] = copy.deepcopy(start.cache)
            given["past_key_values"].batch_repeat_interleave(len(prompts))
        # The last token of a prompt is the last that the mask has; what is before it is before it in the prompt too.
        last = (mask * torch.arange(longest)).argmax(dim=1)
        rows = torch.arange(len(prompts))[:, None].to(device)
        places = (last[:, None] + 1 + torch.tensor(self._positions)).to(device)
        try:
            with torch.inference_mode():
                states = self._net(**given, output_hidden_states=True, return_dict=True).hidden_states
                if states is None or len(states) != self._depth + 1:
                    found = 0 if states is None else len(states)
                    raise EngineError(
                        f"{self._source.alias} gave {found} hidden states, its config says {self._depth} layers: "
                        "models of its kind cannot be read"
                    )
                chosen = torch.stack([states[layer][rows, places] for layer in self.layers], dim=1)
            values: NDArray[np.float32] = chosen.float().cpu().numpy()
        except (RuntimeError, ValueError, IndexError) as error:
            raise EngineError(f"transformers failed on {self._source.alias}: {error}") from error
        return values

    @cached_property
    def _tokenizer(self) -> Any:
        return self._load(self._library.AutoTokenizer)

    @cached_property
    def _net(self) -> Any:
        """The model without what turns its last states into tokens."""
        net = self._load(self._library.AutoModelForCausalLM, dtype=getattr(self._torch, self._dtype, self._dtype))
        return net.base_model.to(self._source.device).eval()

    @cached_property
    def _takes(self) -> set[str]:
        return set(inspect.signature(self._net.forward).parameters)

    def _load(self, kind: Any, **settings: Any) -> Any:
        source = self._source
        if source.revision is not None:
            settings["revision"] = source.revision
        if source.file is not None:
            settings["gguf_file"] = source.file
        try:
            return kind.from_pretrained(source.place, **settings)
        except Exception as error:  # the library raises what its many parts raise
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            said = f"{type(error).__name__}: {lines[0][:500] if lines else 'no word'}"
            where = source.place if source.file is None else f"{source.place}/{source.file}"
            raise EngineError(f"transformers cannot load {source.alias} from {where}: {said}") from error


def batches(lengths: Sequence[int], *, most: int, at_once: int = 2**31) -> Iterator[list[int]]:
    """Yield the places of prompts that are computed together: the shortest first, `at_once` or fewer, padded to `most`
    tokens or fewer in all, unless one has more.

    Example:
        >>> list(batches([5, 2, 30, 3, 4], most=10))
        [[1, 3], [4, 0], [2]]
    """
    batch: list[int] = []
    for place in sorted(range(len(lengths)), key=lambda place: lengths[place]):
        if batch and (len(batch) == at_once or lengths[place] * (len(batch) + 1) > most):
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch


def common_start(prompts: Sequence[Sequence[int]]) -> int:
    """Return with how many equal tokens all prompts begin.

    Example:
        >>> common_start([[1, 2, 3], [1, 2, 4, 5], [1, 2, 3, 6]])
        2
    """
    low, high = min(map(list, prompts)), max(map(list, prompts))  # as words are sorted: what these share, all do
    return next((n for n, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))


def _dtype(source: Source, stored: str) -> str:
    """The format that weights are read in where the options leave it open."""
    if stored not in ("bfloat16", "float16") or not source.device.startswith("cpu"):
        return stored
    folder = Path(source.place)
    size = sum(path.stat().st_size for pattern in WEIGHTS for path in folder.glob(pattern)) if folder.is_dir() else 0
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return "float32" if 0 < 2 * size <= memory / 2 else stored
