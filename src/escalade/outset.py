"""The outset: a task becomes a climb, with the machine that executes its route."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from escalade.answers.kinds import Kind, has_votes
from escalade.cascade.machine import Machine
from escalade.cascade.policy import Policy
from escalade.climb import Climb, Task
from escalade.pool import Pool
from escalade.problems import Problem
from escalade.routes import Executed, Route, executed

_REMEMBERED = 4096
"""Routes whose forms as executed are kept in memory."""


class Outset:
    """Makes climbs of tasks.

    Args:
        pool: the models.
        policy: the settings of tasks that have none of their own.
        kind_of: what kind of answer a problem has.
    """

    def __init__(self, pool: Pool, policy: Policy, kind_of: Callable[[Problem], Kind]) -> None:
        self._pool, self._policy, self._kind_of = pool, policy, kind_of
        self._thresholds = {m.alias: m.threshold for m in pool.models if m.threshold is not None}
        self._accuracies = {m.alias: m.accuracy for m in pool.models if m.accuracy is not None}
        self._costs = pool.relative_costs()
        self._ways: dict[tuple[Route, bool], tuple[Executed, str]] = {}
        """Routes met so far: as executed, and the fingerprint of their jobs."""

    def climb(self, order: int, task: Task) -> Climb:
        """Return the climb of a task whose route could be read.

        Raises:
            SettingError: the policy needs what a model of the route lacks.
        """
        assert task.route is not None
        votes = task.own.choices > 1 or has_votes(self._kind_of(task.problem))
        ran, job = self._way(task.route, task.own.policy, votes=votes)
        machine = Machine(
            ran.route,
            task.own.policy or self._policy,
            scores=task.problem.scores,
            thresholds=self._thresholds,
            accuracies=self._accuracies,
            costs=self._costs,
            notes=(*task.notes, *ran.notes),
        )
        return Climb(order, task, ran.route, machine, self._pool, job)

    def _way(self, route: Route, own: Policy | None, *, votes: bool) -> tuple[Executed, str]:
        """A route as executed, and the fingerprint of its job."""
        if (route, votes) not in self._ways:
            if len(self._ways) > _REMEMBERED:
                self._ways.clear()
            ran = executed(route, self._pool, votes=votes)
            self._ways[route, votes] = ran, job_of(ran.route, self._policy)
        ran, job = self._ways[route, votes]
        return ran, job if own is None else job_of(ran.route, own)


def job_of(route: Route, policy: Policy) -> str:
    """Return the fingerprint of a route as executed and of the settings."""
    return hashlib.sha256(f"{route}\n{policy}".encode()).hexdigest()[:16]
