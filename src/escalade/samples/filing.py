"""Filing: under which key a foreign sample is kept, so that it is used for what it is and for nothing else.

It gets the key of a sample of ours only if its file says all that such a key stands for, and says the same as the pool:
the model, every message, temperature, limit of tokens, top_p, top_k, that no texts of its own ended it, and why it
ended. A later run with that pool then finds it. Otherwise its model is filed as `imported:NAME`, which no run looks
for; exported, it can be replayed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from escalade.answers.extract import extract
from escalade.errors import TableError, nearest
from escalade.pool import Pool, PoolModel, Prompt
from escalade.samples.foreign import Foreign, Messages
from escalade.samples.store import Key, Question, Store, Stored

JOB = "imported"
"""What paid for imported samples: no route of ours, so none is charged for them before it uses them."""


class Filed(NamedTuple):
    """A foreign sample as the store keeps it."""

    stored: Stored
    question: Question | None
    why: str | None
    """Why no run can find it; None where runs do."""


@dataclass(frozen=True)
class Office:
    """Files foreign samples.

    `fingerprint` (of a pool's model), `params` (of pool, model, temperature and run seed) and `problem` (of a text) are
    those by which runs look for samples.
    """

    fingerprint: Callable[[PoolModel], str]
    params: Callable[[Pool, PoolModel, float, int], str]
    problem: Callable[[str], str]
    pool: Pool | None = None
    """The pool whose runs are to find the samples."""
    names: Mapping[str, str] = field(default_factory=dict)
    """Alias of the pool's model by the name that a file gives it; "" stands for files that name no model.
    Without a pool, "" gives the name itself."""
    seed: int = 0
    """Of the runs that are to find samples of a temperature above 0."""
    temperature: float | None = None
    """Of files that state none."""
    vouched: bool = False
    """Whether a person says that all that a file leaves open is as the pool has it."""

    def file(self, foreign: Foreign) -> Filed:
        """Return a foreign sample under its key, at the index that its file gives it.

        Raises:
            TableError: it names no model or no temperature, and no option does; a model that the pool has not.
        """
        model = self._model(foreign)
        name = foreign.model or (model.name if model is not None else self.names.get(""))
        if name is None:
            raise TableError(f"{foreign.place}: the file does not say which model this is: say it with --model NAME")
        temperature = foreign.settings.temperature
        if temperature is None:
            temperature = self.temperature
        if temperature is None or not 0 <= temperature < 100:
            raise TableError(f"{foreign.place}: the file does not say the temperature: give it with --temperature")
        foreign = foreign.at(temperature)
        text, why = self._asked(foreign, model)
        if text is None:
            text = foreign.question
        print_of = self.problem(text) if text else _hash("id", foreign.tool, foreign.origin, foreign.problem_id)[:32]
        if why is None and model is not None and self.pool is not None:
            name = model.name
            key = Key(print_of, self.fingerprint(model), self.params(self.pool, model, temperature, self.seed))
        else:
            key = Key(print_of, f"imported:{name}", _own_params(foreign))
        seed = foreign.seed
        if seed is None:
            seed = int(_hash(foreign.tool, foreign.identity)[:16], 16) >> 1
        stored = Stored(key, foreign.index, seed, foreign.problem_id, name, temperature, JOB, foreign.generation)
        return Filed(stored, Question(print_of, text, _gold(foreign.gold)) if text else None, why)

    def _model(self, foreign: Foreign) -> PoolModel | None:
        """The pool's model that this one is."""
        if self.pool is None:
            return None
        said = self.names.get(foreign.model or "")
        if said is None and foreign.model in self.pool:
            said = foreign.model
        if said is None:
            known = [word for model in self.pool.models for word in (model.alias, model.name)]
            given = repr(foreign.model) if foreign.model else "not named"
            near = nearest(foreign.model or "", known)
            as_what = f"ALIAS={foreign.model}" if foreign.model else "ALIAS"
            raise TableError(
                f"{foreign.place}: its model is {given}; pool {self.pool.name!r} has {', '.join(self.pool.aliases)}"
                f"{near}; say which it is with --model {as_what}, or leave out --pool"
            )
        return self.pool[said]

    def _asked(self, foreign: Foreign, model: PoolModel | None) -> tuple[str | None, str | None]:
        """The problem's text as the pool would ask it, and why the sample is not one that the pool could have drawn."""
        if self.pool is None or model is None:
            return None, "no pool is given: --pool says whose runs may find them"
        if foreign.pool is not None:
            return foreign.question, self._differs(foreign.pool, foreign, model)
        prompt = self.pool.prompt_of(model)
        text = None if foreign.messages is None else problem_in(prompt, foreign.messages, foreign.question)
        if text is None and foreign.messages is not None:
            return None, f"the messages are not those of the pool's prompt for {model.alias}"
        if text is None and self.vouched and foreign.question:
            text = foreign.question
        if text is None:
            return None, "the file does not say the messages that were sent"
        return text, self._settings(foreign, model)

    def _settings(self, foreign: Foreign, model: PoolModel) -> str | None:
        assert self.pool is not None
        drawn = foreign.settings
        limit = self.pool.max_tokens_of(model)
        for what, theirs, ours in (
            ("max_tokens", drawn.max_tokens, limit),
            ("top_p", drawn.top_p, model.top_p),
            ("top_k", drawn.top_k, model.top_k),
        ):
            if theirs is None and ours is not None and not self.vouched:
                return f"the file does not say {what}; the pool has {ours} (--same-settings says that this was it)"
            if theirs is not None and theirs != ours:
                return f"{what} was {theirs}, the pool has {'none' if ours is None else ours}"
        if drawn.stop:
            return f"generations were ended at {', '.join(map(repr, drawn.stop[:3]))}, which the pool does not do"
        if not foreign.complete and not self.vouched:
            return "the file does not say why generations ended (--same-settings says that none was cut off)"
        return None

    def _differs(self, theirs: Pool, foreign: Foreign, model: PoolModel) -> str | None:
        """Say whether the pool that a recording carries would have drawn the sample in another way."""
        assert self.pool is not None and foreign.settings.temperature is not None
        if foreign.model is None or foreign.model not in theirs:
            return f"the recording's own pool has no model {foreign.model!r}"
        drawn = theirs[foreign.model]
        temperature = foreign.settings.temperature
        same = self.params(theirs, drawn, temperature, 0) == self.params(self.pool, model, temperature, 0)
        if not same:
            return "the recording's pool has another prompt, limit of tokens, top_p or top_k"
        whose = drawn.model_dump(include={"engine", "sha256", "options"})
        if whose != model.model_dump(include={"engine", "sha256", "options"}) or drawn.name != model.name:
            return "the recording's pool has another model or engine"
        if not foreign.question:
            return "the recording does not have the problem's text"
        return None


def problem_in(prompt: Prompt, messages: Messages, likely: str | None = None) -> str | None:
    """Return the problem that a prompt has turned into these messages; None where it cannot have.

    Example:
        >>> problem_in(Prompt(user="Q: {problem}"), (("user", "Q: 1+1?"),))
        '1+1?'
    """
    before, _, after = prompt.user.partition("{problem}")
    content = messages[-1][1]
    inner = content[len(before) : len(content) - len(after)]
    for text in (likely, inner):
        if text and tuple((m["role"], m["content"]) for m in prompt.messages(text)) == messages:
            return text
    return None


def place(store: Store, filed: Iterable[Filed]) -> list[Stored]:
    """Return samples at indexes that are free in a store, or where the same sample is already.

    Two files of one model both begin at 0; the second one's samples stand behind the first one's.
    """
    taken: dict[Key, dict[int, int]] = {}
    seeds: dict[Key, dict[int, int]] = {}
    out: list[Stored] = []
    for stored, _, _ in filed:
        if stored.key not in taken:
            there = list(store.samples(stored.key))
            taken[stored.key] = {s.index: s.seed for s in there}
            seeds[stored.key] = {s.seed: s.index for s in there}
        indexes, known = taken[stored.key], seeds[stored.key]
        index = known.get(stored.seed)
        if index is None:
            index = stored.index if stored.index not in indexes else max(indexes) + 1
        indexes[index], known[stored.seed] = stored.seed, index
        out.append(replace(stored, index=index))
    return out


def _own_params(foreign: Foreign) -> str:
    """What is known of how it was drawn; samples of which the same is known share a key."""
    messages, question = foreign.messages, foreign.question
    asked = None
    if messages is not None:
        asked = [[role, content.replace(question, "{problem}") if question else content] for role, content in messages]
    drawn = foreign.settings
    parts = {
        "imported": foreign.tool,
        "prompt": None if asked is None else _hash(json.dumps(asked))[:16],
        "temperature": drawn.temperature,
        "max_tokens": drawn.max_tokens,
        "top_p": drawn.top_p,
        "top_k": drawn.top_k,
        "stop": list(drawn.stop),
    }
    return json.dumps(parts, sort_keys=True)


def _gold(text: str | None) -> str | None:
    """A gold answer, read from the worked solution that some data sets have in its place."""
    found = None if text is None else extract(text)
    return found.text if found is not None and found.rule in ("hash", "boxed") else text


def _hash(*parts: str) -> str:
    return hashlib.sha256("\x1f".join(parts).encode("utf-8", "surrogatepass")).hexdigest()
