"""A sample: one generation, the answer found in it, and the seed it was drawn with."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from escalade import answers


@dataclass(frozen=True, slots=True)
class Generation:
    """What an engine gives for one request. Token counts are raw; None is unknown, never 0."""

    text: str | None
    finish_reason: str = "stop"
    """stop, length (cut off at the token limit), or what the engine calls it."""
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    """How many of the prompt tokens the engine had cached."""
    completion_tokens: int | None = None
    reasoning_tokens: int | None = None
    mean_logprob: float | None = None
    """Nats a token."""
    seconds: float | None = None
    answer: str | None = None
    """An answer that came with the generation (recorded pools); else it is extracted from the text."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One generation in its place among the k of a tier, with the vote it casts."""

    index: int
    generation: Generation
    seed: int | None = None
    answer: str | None = None
    """The answer as written."""
    rule: str | None = None
    """Which rule of extraction found it; "recorded" where it came with the generation."""
    key: str | None = None
    """Canonical key of the answer: the class it votes for; None abstains."""


def read(index: int, generation: Generation, *, seed: int | None = None, last_number: bool = False) -> Sample:
    """Return the sample that a generation makes: its answer extracted, and the class it votes for.

    A generation cut off at the token limit abstains, whatever stands in it: its answer may be half an answer.

    Example:
        >>> sample = read(0, Generation(r"Half of them: \\boxed{\\frac12}."))
        >>> sample.rule, sample.key
        ('boxed', '0.5')
    """
    answer: str | None = None
    rule: str | None = None
    if generation.answer is not None:
        answer, rule = generation.answer, "recorded"
    elif generation.text is not None:
        found = answers.extract(generation.text, last_number=last_number)
        if found is not None:
            answer, rule = found.text, found.rule
    cut_off = generation.finish_reason == "length"
    key = None if answer is None or cut_off else answers.key(answer)
    return Sample(index, generation, seed, answer, rule, key)


def sample_seed(run_seed: int, problem: str, model: str, temperature: float, index: int) -> int:
    """Return the seed of one sample: 63 bits of a hash, so that no two samples of a run share one by design.

    Neighbouring seeds overlap in engines that count children up from a base; hashed ones do not.

    Example:
        >>> sample_seed(0, "e01", "7B", 0.7, 0) != sample_seed(0, "e01", "7B", 0.7, 1)
        True
    """
    text = "\x1f".join((str(run_seed), problem, model, repr(float(temperature)), str(index)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
