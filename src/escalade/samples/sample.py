"""A sample: one generation, the answer found in it, and the seed it was drawn with."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from escalade.answers.kinds import Kind, has_votes
from escalade.errors import AnswerKindError


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
    failure: str | None = None
    """Why the kind of answer could not read it: an error of its problem, not of the run."""


def read(index: int, generation: Generation, *, kind: Kind, seed: int | None = None) -> Sample:
    """Return the sample that a generation makes: its answer extracted by its kind, and the class it votes for.

    A generation cut off at the token limit abstains, whatever stands in it: its answer may be half an answer; where the
    answer is the whole text, what there is of it is the answer. One that
    a kind of a person's own cannot read has a `failure`; what was paid for it stays on the books.

    Example:
        >>> from escalade.answers.kinds import kind_of
        >>> sample = read(0, Generation(r"Half of them: \\boxed{\\frac12}."), kind=kind_of("math"))
        >>> sample.rule, sample.key
        ('boxed', '0.5')
    """
    answer: str | None = None
    rule: str | None = None
    key: str | None = None
    failure: str | None = None
    try:
        answer, rule = _found(generation, kind)
        if answer is not None and (generation.finish_reason != "length" or not has_votes(kind)):
            key = kind.key(answer)
    except AnswerKindError as error:
        failure = str(error)
    return Sample(index, generation, seed, answer, rule, key, failure)


def _found(generation: Generation, kind: Kind) -> tuple[str | None, str | None]:
    """Return the answer of a generation as written, and the rule it was found by."""
    if generation.answer is not None:
        return generation.answer, "recorded"
    found = None if generation.text is None else kind.extract(generation.text)
    return (None, None) if found is None else (found.text, found.rule)


def sample_seed(run_seed: int, problem: str, model: str, temperature: float, index: int) -> int:
    """Return the seed of one sample: 63 bits of a hash, so that no two samples of a run share one by design.

    Neighbouring seeds overlap in engines that count children up from a base; hashed ones do not.

    Example:
        >>> sample_seed(0, "e01", "7B", 0.7, 0) != sample_seed(0, "e01", "7B", 0.7, 1)
        True
    """
    text = "\x1f".join((str(run_seed), problem, model, repr(float(temperature)), str(index)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
