"""Gates: a choice between two routes by a score, made before anything is drawn.

A gate stands before a route: problems whose score of one model reaches a number go by the gate's own route, all others
by the route behind it. This module compares numbers; where scores come from is the business of `scores`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from escalade.errors import ScoreError, SettingError
from escalade.pool import Pool
from escalade.problems import SCORE, Problem
from escalade.routes import Route, parse_route


class GateText(Protocol):
    """A gate as a file has it, its route as a routing string."""

    @property
    def score(self) -> str:
        """Whose score is looked at."""

    @property
    def at_least(self) -> float:
        """What it has to reach."""

    @property
    def route(self) -> str:
        """The routing string."""


@dataclass(frozen=True, slots=True)
class Gate:
    """Which problems go by another route: those whose score of a model is at least a number.

    Example:
        >>> gate = Gate("1.5B", 0.6, parse_route("mv_1.5B_k3_t0.7"))
        >>> [gate.takes(Problem(str(score), "?", scores={"1.5B": score})) for score in (0.59, 0.6)]
        [False, True]
    """

    score: str
    """Alias of the model whose score is looked at."""
    at_least: float
    route: Route
    """Of the problems whose score reaches it."""

    def takes(self, problem: Problem) -> bool:
        """Return whether a problem goes by the gate's route.

        Raises:
            ScoreError: it has no score of the model.
        """
        return self._score_of(problem) >= self.at_least

    def told(self, problem: Problem) -> str:
        """Say which way a problem went, and by what.

        Example:
            >>> Gate("1.5B", 0.6, parse_route("1.5B")).told(Problem("p", "?", scores={"1.5B": 0.25}))
            'gate: score of 1.5B 0.25 < 0.6'
        """
        sign = ">=" if self.takes(problem) else "<"
        return f"gate: score of {self.score} {self._score_of(problem)} {sign} {self.at_least}"

    def before(self, route: Route) -> str:
        """Say which problems go by the gate's route, and which by the route behind it.

        Example:
            >>> Gate("1.5B", 0.6, parse_route("mv_1.5B_k3_t0.7")).before(parse_route("mv_7B_k3_t0.7"))
            'mv_1.5B_k3_t0.7 where score of 1.5B >= 0.6, else mv_7B_k3_t0.7'
        """
        return f"{self.route} where score of {self.score} >= {self.at_least}, else {route}"

    def _score_of(self, problem: Problem) -> float:
        score = problem.scores.get(self.score)
        if score is None or score != score:
            raise ScoreError(
                f"problem {problem.id!r} has no score of {self.score}, by which the policy's gate chooses its route: "
                f"give a column {SCORE}{self.score} with --scores FILE (escalade probe score makes one)"
            )
        return score


def parse_gate(gate: GateText, pool: Pool) -> Gate:
    """Return a gate in a pool.

    Raises:
        SettingError: it looks at the score of a model that is not there. RouteError: its route is not understood.
    """
    if gate.score not in pool:
        raise SettingError(f"the gate looks at the score of an {pool.unknown(gate.score)}")
    return Gate(pool[gate.score].alias, float(gate.at_least), parse_route(gate.route, pool))
