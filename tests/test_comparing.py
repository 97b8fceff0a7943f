"""Votes over answers whose kind must be asked: slow, failing, hanging on, in the middle of a run."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from escalade.answers.grader import Grader
from escalade.cascade.policy import Policy
from escalade.climb import Answered, Task
from escalade.engines.base import Request
from escalade.executor import Executor
from escalade.limits import Limits
from escalade.problems import Problem
from escalade.routes import parse_route
from escalade.samples.sample import Generation
from escalade.samples.store import Store
from escalade.samples.verdicts import Verdicts
from escalade.testing import ScriptedEngine, pool_of

KIND = """
import time

class FirstLetter:
    '''Answers are equal when their first letters are.'''

    version = "1"
    seconds = 0.0

    def extract(self, text):
        return text.strip() or None

    def key(self, answer):
        return answer

    def equal(self, a, b):
        time.sleep(self.seconds)
        if "!" in a + b:
            raise RuntimeError("cannot look at " + a)
        return a[0] == b[0]

class Slow(FirstLetter):
    seconds = 0.3
"""
ROUTE = "mv_cascade_S_k4_t0.7_L_k1_t0.0"


@pytest.fixture
def kinds(tmp_path: Path) -> Path:
    path = tmp_path / "kinds.py"
    path.write_text(KIND)
    return path


class Said:
    """Answers by problem and sample index; the large model says "L"."""

    def __init__(self, **votes: str) -> None:
        self.votes = {ident: texts.split() for ident, texts in votes.items()}

    def __call__(self, request: Request) -> Generation:
        text = "L" if request.model.alias == "L" else self.votes[request.problem_id][request.index]
        return Generation(text, prompt_tokens=5, completion_tokens=3)


def answer(
    problems: list[Problem],
    said: Said,
    *,
    route: str = ROUTE,
    target: float = 0.75,
    store: Path | None = None,
    limits: Limits | None = None,
) -> tuple[dict[str, Answered], Grader, ScriptedEngine]:
    pool = pool_of("S", "L")
    engine = ScriptedEngine(said)
    kept, verdicts = (None, None) if store is None else (Store(store), Verdicts(store))
    grader = Grader(verdicts)
    done: dict[str, Answered] = {}
    executor = Executor(
        pool,
        lambda model: engine,
        store=kept,
        policy=Policy(target=target),
        limits=limits,
        on_answer=lambda item: done.__setitem__(item.problem.id, item),
        grader=grader,
    )
    tasks = [Task(problem, parse_route(route, pool)) for problem in problems]
    asyncio.run(asyncio.wait_for(executor.run(tasks), 60))
    for file in (kept, verdicts):
        if file is not None:
            file.close()
    return done, grader, engine


def problem(ident: str, kind: Any = None, gold: str | None = None) -> Problem:
    return Problem(ident, f"Problem {ident}?", gold, answer_kind=None if kind is None else str(kind))


def test_votes_for_equal_answers_are_votes_for_one_answer(kinds: Path):
    done, _, _ = answer([problem("p", f"{kinds}:FirstLetter", "ax")], Said(p="ab ac ad b"))
    outcome = done["p"].outcome
    assert outcome.status == "accepted"
    assert outcome.answer == "ab" and set(outcome.equal) <= {"ac", "ad"}
    assert outcome.tiers[0].looks[-1].ballot.first == 3
    assert done["p"].grade is not None and done["p"].grade.outcome


def test_symbolically_equal_answers_vote_together():
    texts = Said(p="\\boxed{e^{i\\pi}} \\boxed{-1} \\boxed{\\cos\\pi} \\boxed{7}")
    done, grader, _ = answer([problem("p", gold="\\sin\\frac{3\\pi}{2}")], texts)
    assert done["p"].outcome.answer == "-1"
    assert done["p"].outcome.tiers[0].looks[-1].ballot.first == 3
    grade = done["p"].grade
    assert grade is not None and grade.outcome and grade.samples[0][:3] == (True, True, True)
    assert not grader.undecided


def test_other_problems_go_on_while_a_kind_is_asked(kinds: Path):
    slow = problem("slow", f"{kinds}:Slow")
    others = [problem(f"p{i}", "text") for i in range(20)]
    done, _, _ = answer([slow, *others], Said(slow="ab ac b c", **{f"p{i}": "a a a a" for i in range(20)}))
    assert list(done)[-1] == "slow"
    assert len(done) == 21


def test_a_kind_that_fails_is_its_rows_error_and_nothing_paid_is_lost(kinds: Path, tmp_path: Path):
    problems = [problem("bad", f"{kinds}:FirstLetter"), problem("good", f"{kinds}:FirstLetter")]
    done, _, _ = answer(problems, Said(bad="a! b c d", good="ab ac ad ae"), store=tmp_path / "s.sqlite")
    assert done["bad"].outcome.status == "error"
    assert "cannot look at a!" in done["bad"].outcome.notes[-1]
    assert done["good"].outcome.status == "accepted"
    with Store(tmp_path / "s.sqlite") as store:
        assert len(store) >= 6


def test_a_gold_that_cannot_be_graded_is_said_and_the_outcome_kept(kinds: Path):
    done, _, _ = answer([problem("p", f"{kinds}:FirstLetter", "gold!")], Said(p="ab ab ab ab"))
    item = done["p"]
    assert (item.outcome.status, item.outcome.answer, item.grade) == ("accepted", "ab", None)
    assert "not graded against 'gold!'" in item.outcome.notes[-1]


def test_a_second_run_asks_neither_models_nor_kinds_and_costs_the_same(kinds: Path, tmp_path: Path):
    problems = [problem(f"p{i}", f"{kinds}:FirstLetter", "a") for i in range(6)]
    said = Said(
        **{
            f"p{i}": text
            for i, text in enumerate(["ab ac ad b", "a b c d", "ab ac b bc", "b bc ba a"] + ["a x y z"] * 2)
        }
    )
    first, asked, _ = answer(problems, said, store=tmp_path / "s.sqlite")
    again, recalled, engine = answer(problems, said, store=tmp_path / "s.sqlite")
    assert asked.asked > 0 and recalled.asked == 0 and not engine.requests
    assert {i: (a.outcome.verdict, a.cost, a.grade) for i, a in first.items()} == {
        i: (a.outcome.verdict, a.cost, a.grade) for i, a in again.items()
    }


def test_another_routes_samples_cost_only_what_is_looked_at(kinds: Path, tmp_path: Path):
    problems = [problem("p", f"{kinds}:Slow")]
    said = Said(p="ab ac ad b")
    answer(problems, said, route="mv_S_k4_t0.7", store=tmp_path / "s.sqlite")
    first, grader, _ = answer(problems, said, target=0.5, store=tmp_path / "s.sqlite")
    assert grader.asked == 0  # the verdicts were kept
    (tmp_path / "t.sqlite").write_bytes((tmp_path / "s.sqlite").read_bytes())
    import sqlite3

    with sqlite3.connect(tmp_path / "t.sqlite") as database:
        database.execute("DELETE FROM verdicts")
        database.execute("DELETE FROM samples WHERE job NOT IN (SELECT min(job) FROM samples)")
    database.close()
    again, grader, _ = answer(problems, said, target=0.5, store=tmp_path / "t.sqlite")
    assert grader.asked > 0
    assert again["p"].outcome.verdict == first["p"].outcome.verdict
    assert len(again["p"].tiers[0].samples) == len(first["p"].tiers[0].samples)


def test_the_deadline_of_the_run_does_not_wait_for_a_kind(kinds: Path):
    started = time.monotonic()
    limits = Limits(run_seconds=0.05)
    done, _, _ = answer([problem("p", f"{kinds}:Slow")], Said(p="ab b c d"), limits=limits)
    assert done["p"].outcome.status == "deadline"
    assert time.monotonic() - started < 5


def test_a_run_that_is_cancelled_ends_while_a_kind_is_asked(kinds: Path):
    pool = pool_of("S", "L")
    engine = ScriptedEngine(Said(p="ab b c d"))
    executor = Executor(pool, lambda model: engine, store=None, policy=Policy())

    async def whole() -> None:
        run = asyncio.ensure_future(executor.run([Task(problem("p", f"{kinds}:Slow"), parse_route(ROUTE, pool))]))
        await asyncio.sleep(0.1)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run

    asyncio.run(asyncio.wait_for(whole(), 5))
