"""Prompts: how a problem becomes chat messages; those that ship with the package."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib import resources

from pydantic import BaseModel, ConfigDict, field_validator


class Prompt(BaseModel):
    """How a problem becomes chat messages: an optional system text, worked examples, and the question."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    system: str | None = None
    shots: tuple[tuple[str, str], ...] = ()
    user: str = "{problem}"

    @field_validator("user")
    @classmethod
    def _has_problem(cls, value: str) -> str:
        if "{problem}" not in value:
            raise ValueError("has no {problem} in it, so no model would see the question")
        return value

    def messages(self, problem: str, conversation: Sequence[tuple[str, str]] = ()) -> list[dict[str, str]]:
        """Return the chat messages that ask `problem`, as role and content.

        What was said before it stands between the worked examples and the question; a system text of the
        conversation takes the place of the prompt's own.

        Example:
            >>> prompt = Prompt(system="Be brief.", user="{problem} Think.")
            >>> [m["content"] for m in prompt.messages("And 3?", [("user", "2 + 2?"), ("assistant", "4")])]
            ['Be brief.', '2 + 2?', '4', 'And 3? Think.']
        """
        systems = [content for role, content in conversation if role == "system"]
        if not systems and self.system is not None:
            systems = [self.system]
        said = [("system", content) for content in systems]
        for question, answer in self.shots:
            said += [("user", self.user.replace("{problem}", question)), ("assistant", answer)]
        said += [(role, content) for role, content in conversation if role != "system"]
        said.append(("user", self.user.replace("{problem}", problem)))
        return [{"role": role, "content": content} for role, content in said]

    @property
    def fingerprint(self) -> str:
        """A hash of all that a model is told besides the problem."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json")).encode()).hexdigest()[:16]


@lru_cache(maxsize=1)
def shipped_prompts() -> Mapping[str, Prompt]:
    """Return the prompts that any pool may name."""
    text = (resources.files("escalade") / "data" / "prompts.toml").read_text(encoding="utf-8")
    return {name: Prompt.model_validate(body) for name, body in tomllib.loads(text).items()}
