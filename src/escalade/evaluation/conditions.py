"""Conditions: under what samples were drawn and graded, as far as it is known, and how two sets of them differ.

A number that was fitted or certified under some conditions says nothing about others; this module finds the
difference and says it in words. It does not decide what follows from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pydantic import BaseModel, ConfigDict

from escalade.pool import Pool, PoolModel


class Strict(BaseModel):
    """A record of a file that people review: unknown keys, other types and non-finite numbers are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class ModelConditions(Strict):
    """Under what a model of the pool was sampled; None where that is not known."""

    name: str
    weights: str | None = None
    """The engine's fingerprint of what answers."""
    prompt: str | None = None
    """Fingerprint of all that the model is told besides the problem."""
    max_tokens: int | None = None
    top_p: float | None = None
    top_k: int | None = None

    @classmethod
    def of(cls, pool: Pool, model: PoolModel, weights: str | None = None) -> ModelConditions:
        """Return the conditions of one model of a pool; `weights` where its engine tells."""
        return cls(
            name=model.name,
            weights=weights,
            prompt=pool.prompt_of(model).fingerprint,
            max_tokens=pool.max_tokens_of(model),
            top_p=model.top_p,
            top_k=model.top_k,
        )


class Conditions(Strict):
    """Models by alias, and the grader's stamp: the version of this package and of each kind of answer."""

    models: Mapping[str, ModelConditions]
    grader: Mapping[str, str]

    @classmethod
    def of(cls, pool: Pool, grader: Mapping[str, str], weights: Mapping[str, str] | None = None) -> Conditions:
        """Return the conditions of a pool; `grader` as stamped on results, `weights` by alias where engines tell.

        Example:
            >>> from escalade.pool import load_pool
            >>> Conditions.of(load_pool("qwen2.5-math"), {"escalade": "0.1.0"}).models["7B"].name
            'Qwen/Qwen2.5-Math-7B-Instruct'
        """
        known = weights or {}
        models = {model.alias: ModelConditions.of(pool, model, known.get(model.alias)) for model in pool.models}
        return cls(models=models, grader=dict(grader))

    def differences(self, now: Conditions, aliases: Iterable[str]) -> list[str]:
        """Return a sentence for each difference between these conditions and those of now, for models in both.

        What is not known on one side is no difference, but for top_p and top_k, where None is the engine's own
        choice, and for the versions of a grader.

        Example:
            >>> then = Conditions(models={"S": ModelConditions(name="a/s", prompt="p1")}, grader={"math": "1"})
            >>> now = Conditions(models={"S": ModelConditions(name="a/s", prompt="p2")}, grader={"math": "2"})
            >>> print("; ".join(then.differences(now, ["S"])))
            S: the prompt was p1, now it is p2; the grader's math was 1, now it is 2
        """
        out: list[str] = []
        for alias in aliases:
            before, after = self.models.get(alias), now.models.get(alias)
            if before is None or after is None:
                continue
            for field, what in _SAID.items():
                old, new = getattr(before, field), getattr(after, field)
                unknown = (old is None or new is None) and field not in ("top_p", "top_k")
                if old != new and not unknown:
                    out.append(f"{alias}: the {what} was {_plain(old)}, now it is {_plain(new)}")
        for part in sorted(self.grader.keys() | now.grader.keys()):
            old, new = self.grader.get(part), now.grader.get(part)
            if old != new:
                out.append(f"the grader's {part} was {_plain(old)}, now it is {_plain(new)}")
        return out


_SAID = {
    "name": "model",
    "weights": "fingerprint of what answers",
    "prompt": "prompt",
    "max_tokens": "token limit",
    "top_p": "top_p",
    "top_k": "top_k",
}


def _plain(value: object) -> str:
    return "not set" if value is None else str(value)
