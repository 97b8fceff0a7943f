"""Comparing: which of a problem's answers are equal, found before its machine hears of a new one, and which are right.

Mostly the keys say it. Where the kind of answer must be asked, which may take seconds, it is asked in a thread; the
problem's further samples wait meanwhile, and all other problems go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

from escalade.answers.grader import Grader
from escalade.answers.kinds import Kind
from escalade.cascade.machine import Action
from escalade.climb import Answered, Climb, Grade
from escalade.errors import EscaladeError
from escalade.problems import Problem
from escalade.samples.sample import Sample

Answer = TypeVar("Answer")

THREADS = 2
"""Kinds asked at once."""


class Comparing:
    """Tells machines of samples, with the classes of their answers.

    Args:
        grader: decides equality.
        kind_of: the kind of a problem's answer.
        later: has the main loop of the run do something.
        go_on: carries out what a machine wants after it has heard of samples that had to wait.
    """

    def __init__(
        self,
        grader: Grader,
        kind_of: Callable[[Problem], Kind],
        later: Callable[[Callable[[], None]], None],
        go_on: Callable[[Climb, Sequence[Action]], None],
    ) -> None:
        self._grader, self._kind_of, self._later, self._go_on = grader, kind_of, later, go_on
        self._threads: ThreadPoolExecutor | None = None
        self.under_way = 0
        """Questions that a kind is being asked."""

    def hear(
        self, climb: Climb, tier: int, sample: Sample, if_wanted: Callable[[], None] | None = None
    ) -> list[Action]:
        """Tell a climb's machine of a sample, and return what it wants; [] where the sample has to wait.

        `if_wanted` is called first, if the machine wants the sample by then.
        """
        machine, key = climb.machine, sample.key
        if climb.comparing:
            climb.unheard.append((tier, sample, if_wanted))
            return []
        if not machine.wants(tier, sample.index):
            return []
        if if_wanted is not None:
            if_wanted()
        if sample.failure is not None:
            return machine.fail(sample.failure)
        if key is not None:
            seen = key in climb.tally
            climb.tally[key] = climb.tally.get(key, 0) + 1
            if machine.names or not seen:
                kind = self._kind_of(climb.task.problem)
                names = self._grader.names(kind, climb.tally, ask=False) if len(climb.tally) > 1 else {}
                if names is None:
                    self._compare(climb, kind, tier, sample)
                    return []
                machine.names = names
        return machine.feed(tier, sample)

    def _compare(self, climb: Climb, kind: Kind, tier: int, sample: Sample) -> None:
        tally = dict(climb.tally)
        climb.comparing = True

        def compared(done: asyncio.Future[dict[str, str] | None]) -> None:
            climb.comparing = False
            if (error := done.exception()) is not None:  # a kind may be anybody's: its fault is this row's
                self._go_on(climb, climb.machine.fail(f"answers could not be compared: {_said(error)}"))
                return
            climb.machine.names = done.result() or {}
            self._go_on(climb, climb.machine.feed(tier, sample))
            while climb.unheard and not climb.comparing:
                self._go_on(climb, self.hear(climb, *climb.unheard.popleft()))

        self._ask(lambda: self._grader.names(kind, tally), compared)

    def grade(self, item: Answered, report: Callable[[Answered], None]) -> None:
        """Have an answered problem reported with its grade, at once or after its kind was asked."""
        gold = item.problem.gold
        if gold is None:
            report(item)
            return

        def graded(done: asyncio.Future[Grade]) -> None:
            error = done.exception()
            report(replace(item, grade=done.result()) if error is None else _ungraded(item, gold, error))

        try:
            kind = self._kind_of(item.problem)
            keys = {sample.key for use in item.tiers for sample in use.samples}
            if any(self._grader.is_open(kind, key, gold) for key in keys):
                self._ask(lambda: self._graded(kind, item, gold), graded)
                return
            done = replace(item, grade=self._graded(kind, item, gold))
        except Exception as error:  # a kind may be anybody's
            done = _ungraded(item, gold, error)
        report(done)

    def _graded(self, kind: Kind, item: Answered, gold: str) -> Grade:
        right: dict[str | None, bool] = {}
        for use in item.tiers:
            for sample in use.samples:
                if sample.key not in right:
                    right[sample.key] = self._grader.right(kind, sample.key, gold)
        answers = (item.outcome.answer, *item.outcome.equal)
        samples = tuple(tuple(right[sample.key] for sample in use.samples) for use in item.tiers)
        return Grade(any(right.get(key, False) for key in answers), samples)

    def _ask(self, question: Callable[[], Answer], answered: Callable[[asyncio.Future[Answer]], None]) -> None:
        """Have a thread answer a question, then the main loop told."""
        if self._threads is None:
            self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="escalade-compare")
        self.under_way += 1

        def tell(done: asyncio.Future[Answer]) -> None:
            self.under_way -= 1
            if not done.cancelled():
                answered(done)

        asked = asyncio.get_running_loop().run_in_executor(self._threads, question)
        asked.add_done_callback(lambda done: self._later(lambda: tell(done)))

    def close(self) -> None:
        """Ask nothing more; what is under way ends by itself."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)


def _ungraded(item: Answered, gold: str, error: BaseException) -> Answered:
    notes = (*item.outcome.notes, f"not graded against {gold!r:.80}: {_said(error)}")
    return replace(item, outcome=replace(item.outcome, notes=notes))


def _said(error: BaseException) -> str:
    return str(error) if isinstance(error, EscaladeError) else f"{type(error).__name__}: {error}"
