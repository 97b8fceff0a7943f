"""Kinds of answers whose keys say everything: two different keys are two answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from escalade.answers.extract import Answer


@dataclass(frozen=True, slots=True)
class Keyed(ABC):
    """A kind that only has to find answers and write their keys."""

    name: str

    @property
    def version(self) -> str:
        """Of no consequence, as `equal` depends on nothing."""
        return f"{self.name}, by keys alone"

    @abstractmethod
    def extract(self, text: str) -> Answer | None:
        """Return the answer that a generated text gives."""

    @abstractmethod
    def key(self, answer: str) -> str | None:
        """Return the canonical key of an answer."""

    def equal(self, a: str, b: str) -> bool:
        """Whether the keys are one."""
        return a == b

    def surely_different(self, a: str, b: str) -> bool:
        """Whether the keys are two."""
        return a != b

    def accepted(self, gold: str) -> tuple[str, ...]:
        """Return the key of the gold answer."""
        key = self.key(gold)
        return () if key is None else (key,)
