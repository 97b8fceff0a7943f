import asyncio
from pathlib import Path

import pytest

from escalade.answers.kinds import kind_of
from escalade.asking import Asking
from escalade.cascade.policy import Policy
from escalade.climb import Answered, Task
from escalade.engines.base import Request
from escalade.executor import Executor
from escalade.problems import Problem
from escalade.routes import parse_route
from escalade.samples.sample import Generation
from escalade.samples.store import Key, Store, Stored
from escalade.testing import ScriptedEngine, pool_of

OWN = """
class Word:
    def extract(self, text):
        if "odd" in text:
            raise ValueError("it is odd")
        return text.split()[0]

    def key(self, answer):
        return answer.casefold()

    def equal(self, a, b):
        return False
"""


@pytest.fixture
def word(tmp_path: Path) -> str:
    file = tmp_path / "words.py"
    file.write_text(OWN, encoding="utf-8")
    return f"{file}:Word"


def test_the_kind_of_a_problem_is_its_own_else_the_pools(word: str) -> None:
    asking = Asking(pool_of("S", answer_kind="choice"), lambda model: ScriptedEngine(lambda request: Generation("")), 0)
    assert asking.kind(Problem("a", "x")) is kind_of("choice")
    assert asking.kind(Problem("a", "x", answer_kind="yesno")) is kind_of("yesno")
    own = asking.kind(Problem("a", "x", answer_kind=word))
    Path(word.rpartition(":")[0]).write_text(OWN + "\n# changed\n", encoding="utf-8")
    assert asking.kind(Problem("a", "x", answer_kind=word)) is own is not kind_of(word)
    stored = Stored(Key("p", "m", "t"), 3, 9, "a", "m", 0.7, "job", Generation("The answer is (B)."))
    sample = asking.read(stored, Problem("a", "x"))
    assert (sample.index, sample.seed, sample.answer, sample.rule, sample.key) == (3, 9, "B", "phrase", "B")


def test_a_kind_that_raises_is_its_problems_error_and_nothing_paid_is_lost(word: str) -> None:
    def script(request: Request) -> Generation:
        return Generation("odd one" if request.problem_id == "bad" else "Red it is", completion_tokens=5)

    pool = pool_of("S")
    route = parse_route("mv_S_k3_t0.7", pool)
    tasks = [
        Task(Problem("bad", "First?", "red", answer_kind=word), route),
        Task(Problem("good", "Second?", "red", answer_kind=word), route),
    ]
    store, answered = Store(None), list[Answered]()
    engine = ScriptedEngine(script)
    executor = Executor(pool, lambda model: engine, store=store, policy=Policy(), on_answer=answered.append)
    asyncio.run(asyncio.wait_for(executor.run(tasks), 60))
    bad, good = sorted(answered, key=lambda item: item.problem.id)
    assert bad.outcome.status.value == "error"
    assert any("Word': extract('odd one') raised ValueError: it is odd" in note for note in bad.outcome.notes)
    assert good.outcome.answer == "red" and good.grade is not None and good.grade.outcome
    assert len(bad.tiers[0].samples) >= 1 and len(store) == len(bad.tiers[0].samples) + len(good.tiers[0].samples)
    assert bad.cost.known > 0 or bad.cost.unknown
