"""A probe's file: numbers in safetensors, and beside them, as text, what it was made from and how good it is.

Nothing in the file is run when it is read; a file that is not understood as a whole is refused.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, ValidationError, model_validator

from escalade.complaints import complaints
from escalade.errors import ScoreError, SettingError
from escalade.evaluation.conditions import Conditions, ModelConditions, Strict
from escalade.evaluation.identity import among, fingerprint
from escalade.pool import Pool, PoolModel
from escalade.probes.platt import Platt
from escalade.probes.quality import Quality
from escalade.probes.ridge import Floats, Line, Matrix
from escalade.probes.text import NAMES, TextFeatures
from escalade.problems import Problem

FeatureKind = Literal["text", "hidden", "embedding"]
_KEY = "escalade.probe"
Count = Annotated[int, Field(ge=1)]


class Reading(Strict):
    """What reads the features of a problem, where they are not those of its text."""

    model: str
    """Full name of the model whose states are read, or the encoder as it was named."""
    identity: str
    """What answered: the fingerprint of its weights, or what the encoder says of itself."""
    reader: str | None = None
    """Of hidden states: llamacpp, transformers, vllm."""
    prompt: str | None = None
    """Of hidden states: fingerprint of all that the model is told besides the problem."""


class MemberOf(Strict):
    """One line of the probe: which features it reads, and how it was found."""

    features: str
    layer: int | None = None
    """As transformers numbers hidden states: 0 are the embeddings."""
    position: int | None = None
    """-1 is the last token of the prompt."""
    alpha: float
    """Penalty of the ridge."""
    judged: float
    """Spearman's correlation with the success rate, on folds left out."""


class About(Strict):
    """All of a probe but its numbers."""

    format: Literal["escalade probe 1"] = "escalade probe 1"
    name: str
    """Of the probing data set."""
    features: FeatureKind
    alias: str
    """Of the model whose success is predicted, in the pool it was trained with."""
    model: ModelConditions
    """The same model, and under what it was sampled."""
    temperature: Annotated[float, Field(ge=0)]
    k: Count
    """Samples that most labels rest on."""
    label: Literal["rate", "majority"]
    """What is predicted: that a sample is right, or the majority of k."""
    reading: Reading | None = None
    members: Annotated[tuple[MemberOf, ...], Field(min_length=1)]
    slope: Annotated[float, Field(ge=0)]
    """Of Platt's scaling of the members' mean."""
    intercept: float
    prior_strength: float | None
    """What the score is worth as a prior, in votes; None where labels are of single trials."""
    source: str
    """Where the labels came from."""
    problems: tuple[str, ...]
    """Digest of each problem it was trained on."""
    data: str
    """sha256 over these."""
    groups: Count
    grouped_by: str
    folds: Count
    seed: int
    date: date
    escalade: str
    held_out: Quality
    """On problems it was not made from, near-duplicates kept together."""
    random_folds: Quality
    """The same with folds that part near-duplicates: what a careless test would report."""
    words: tuple[str, ...] = ()
    """Of text features."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if fingerprint(self.problems) != self.data:
            raise ValueError("data is not the fingerprint of the problems: one of them was changed by hand; train anew")
        if (self.reading is None) != (self.features == "text"):
            raise ValueError("a probe of text reads nothing else, any other names what it reads: train anew")
        return self


@dataclass(frozen=True, eq=False)
class Probe:
    """A probe, ready to score."""

    about: About
    lines: tuple[Line, ...]
    idf: Floats
    """[V] Of text features; empty for others."""

    @property
    def platt(self) -> Platt:
        """From the mean of the lines to a probability."""
        return Platt(self.about.slope, self.about.intercept)

    def raw_of_texts(self, texts: Sequence[str]) -> Floats:
        """Return what a probe of text says of problems, about a logit, [N]."""
        features = TextFeatures(self.about.words, self.idf)
        return features.line(texts, np.mean([line.weights for line in self.lines], axis=0)) + float(
            np.mean([line.bias for line in self.lines])
        )

    def raw_of(self, features: Sequence[Matrix]) -> Floats:
        """Return what the probe says of problems, [N], from the features [N, D] of each of its members."""
        return np.asarray(np.mean([line.at(x) for line, x in zip(self.lines, features, strict=True)], axis=0))

    @property
    def sha256(self) -> str:
        """Of all that is in it."""
        whole = hashlib.sha256(self.about.model_dump_json().encode())
        for values in (*(line.weights for line in self.lines), self._biases, self.idf):
            whole.update(np.ascontiguousarray(values, dtype=np.float64).tobytes())
        return whole.hexdigest()

    @property
    def _biases(self) -> Floats:
        return np.array([line.bias for line in self.lines])

    def check(self, pool: Pool) -> PoolModel:
        """Return the model of a pool that the probe is about.

        Raises:
            ScoreError: the pool has no such model, or asks it otherwise than when the labels were drawn.
        """
        about = self.about
        model = next((model for model in pool.models if model.name == about.model.name), None)
        if model is None:
            raise ScoreError(
                f"probe {about.name!r} is of {about.model.name}, which pool {pool.name!r} does not have (it has "
                f"{', '.join(model.name for model in pool.models)}): take the pool it was trained with, or train one"
            )
        alias = about.alias
        then = Conditions(models={alias: about.model}, grader={})
        now = Conditions(models={alias: ModelConditions.of(pool, model)}, grader={})
        if wrong := then.differences(now, [alias]):
            raise ScoreError(
                f"probe {about.name!r} does not fit pool {pool.name!r}: {'; '.join(wrong)}; how often a model is right "
                "depends on it: train a probe on samples of this pool"
            )
        return model

    def seen(self, problems: Sequence[Problem]) -> list[bool]:
        """[N] whether the probe was trained on each problem."""
        return among(problems, self.about.problems, f"probe {self.about.name!r}")

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all.

        Raises:
            SettingError: it cannot be written, or safetensors is not installed.
        """
        tensors = {
            "weights": np.stack([line.weights for line in self.lines]).astype(np.float64),
            "biases": self._biases,
            "idf": np.asarray(self.idf, dtype=np.float64),
        }
        body = _safetensors().save(tensors, {_KEY: self.about.model_dump_json()})
        try:
            with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
                file.write(body)
            Path(file.name).chmod(0o644)
            Path(file.name).replace(path)
        except OSError as error:
            raise SettingError(f"probe {path} cannot be written: {error.strerror or error}; name another") from error


def read_probe(path: str | Path) -> Probe:
    """Return the probe of a file. Nothing in it is run.

    Raises:
        SettingError: no such file, no probe, a key unknown or missing, tensors that do not fit or are not finite.
    """
    path = Path(path)
    remedy = "give a file of escalade probe train"
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise SettingError(f"probe {path} cannot be read: {error.strerror or error}; {remedy}") from error
    try:
        tensors: Mapping[str, Any] = _safetensors().load(raw)
        size = int.from_bytes(raw[:8], "little")
        body = json.loads(json.loads(raw[8 : 8 + size])["__metadata__"][_KEY])
    except Exception as error:  # whatever a damaged file makes the library raise
        raise SettingError(f"probe {path} is no probe: {error!r:.120}; {remedy}") from error
    try:
        about = About.model_validate_json(json.dumps(body))
    except ValidationError as error:
        wrong = "; ".join(complaints(error, body if isinstance(body, dict) else {}, _KEYS_OF, About))
        raise SettingError(f"probe {path}: {wrong}; train it anew (escalade probe train)") from error
    lines, idf = _numbers(path, about, tensors)
    return Probe(about, lines, idf)


_KEYS_OF: Mapping[str, type[Strict]] = {
    "members": MemberOf,
    "reading": Reading,
    "model": ModelConditions,
    "held_out": Quality,
    "random_folds": Quality,
}


def _numbers(path: Path, about: About, tensors: Mapping[str, Any]) -> tuple[tuple[Line, ...], Floats]:
    if set(tensors) != {"weights", "biases", "idf"}:
        raise SettingError(f"probe {path} has the tensors {', '.join(sorted(tensors))}: train it anew")
    weights, biases, idf = (np.asarray(tensors[name], dtype=np.float64) for name in ("weights", "biases", "idf"))
    members, words = len(about.members), len(about.words)
    width = len(NAMES) + words if about.features == "text" else weights.shape[-1]
    if weights.shape != (members, width) or biases.shape != (members,) or idf.shape != (words,):
        raise SettingError(
            f"probe {path}: weights {weights.shape}, biases {biases.shape} and idf {idf.shape} do not fit "
            f"{members} members and {words} words: train it anew"
        )
    if not all(np.isfinite(values).all() for values in (weights, biases, idf)):
        raise SettingError(f"probe {path}: a weight is NaN or infinite: train it anew")
    return tuple(Line(row, float(bias)) for row, bias in zip(weights, biases, strict=True)), idf


def _safetensors() -> Any:
    try:
        from safetensors import numpy as module
    except ImportError as error:
        raise SettingError("a probe's file needs safetensors: pip install 'escalade[probes]'") from error
    return module
