"""How long a cascade takes when each tier has a server of its own, on a fake clock.

500 problems, k = 8, 8 and 1, lengths of answers lognormal, 30 % and 50 % of the problems escalating at each tier. The
peer is a barrier per tier: the same executor, where the models share one device and so take turns (and change
places in no time). Beside them stands the least that is possible: the work of the busiest server, done without a gap.
Tokens are those generated, what cancelled requests had got to included; outcomes must be the same.
"""

from __future__ import annotations

import math
import random

from benchmarks import Figure
from escalade.cascade.policy import Policy
from escalade.climb import Answered, Task
from escalade.engines.base import Request
from escalade.executor import Executor
from escalade.pool import Pool
from escalade.problems import Problem
from escalade.routes import parse_route
from escalade.samples.sample import Generation
from escalade.testing import ScriptedEngine, pool_of, simulate

PROBLEMS = 500
ROUTE = "mv_cascade_S_k8_t0.7_M_k8_t0.7_L_k1_t0.0"
SLOTS = {"S": 32, "M": 32, "L": 16}
RATE = {"S": 60.0, "M": 40.0, "L": 20.0}
"""Tokens a second of one request."""
SEED = 20250104


class World:
    """Problems of which a share is hard for each tier: there its votes disagree."""

    def __init__(self, hard: float) -> None:
        self.hard = hard

    def tokens(self, request: Request) -> int:
        dice = random.Random(f"{SEED} {request.seed} length")
        return max(5, min(2000, round(math.exp(dice.gauss(5.0, 0.6)))))

    def script(self, request: Request) -> Generation:
        dice = random.Random(f"{SEED} {request.problem_id} {request.model.alias}")
        hard = dice.random() < self.hard
        vote = random.Random(f"{SEED} {request.seed} vote").random()
        answer = "1" if vote < (0.35 if hard else 0.97) else str(2 + int(vote * 97) % 5)
        return Generation(f"\\boxed{{{answer}}}", prompt_tokens=100, completion_tokens=self.tokens(request))

    def delay(self, request: Request) -> float:
        return self.tokens(request) / RATE[request.model.alias]


class Run:
    """One run on the fake clock."""

    def __init__(self, world: World, pool: Pool, stop: str) -> None:
        self.engine = ScriptedEngine(world.script, world.delay, SLOTS)
        self.answered: dict[str, Answered] = {}
        executor = Executor(
            pool,
            lambda model: self.engine,
            store=None,
            policy=Policy(target=0.75, stop=stop),
            on_answer=lambda item: self.answered.__setitem__(item.problem.id, item),
            seed=SEED,
        )
        route = parse_route(ROUTE, pool)
        tasks = [Task(Problem(f"p{i}", f"Problem {i}?", "1"), route) for i in range(PROBLEMS)]
        _, self.seconds = simulate(executor.run(tasks))
        usages = [(u.tier.model, x.completion or 0) for a in self.answered.values() for u in a.tiers for x in u.usages]
        self.tokens = sum(tokens for _, tokens in usages)
        work = {alias: sum(t for model, t in usages if model == alias) / RATE[alias] / SLOTS[alias] for alias in SLOTS}
        self.bound = max(work.values())

    @property
    def verdicts(self) -> dict[str, object]:
        return {ident: item.outcome.verdict for ident, item in self.answered.items()}


def main() -> list[Figure]:
    figures: list[Figure] = []
    own = pool_of("S", "M", "L")
    shared = own.model_copy(update={"models": tuple(m.model_copy(update={"gpu": "0"}) for m in own.models)})
    for hard in (0.3, 0.5):
        world = World(hard)
        ours, barrier, whole = Run(world, own, "verdict"), Run(world, shared, "verdict"), Run(world, own, "none")
        assert ours.verdicts == barrier.verdicts == whole.verdicts
        climbed = sum(len(item.tiers) > 1 for item in ours.answered.values()) / PROBLEMS
        name = f"{climbed:.0%} escalate"
        figures += [
            Figure(f"{name}: makespan; peer: a barrier per tier", ours.seconds, barrier.seconds,
                   barrier.seconds / ours.seconds, "s", PROBLEMS),
            Figure(f"{name}: makespan; peer: the busiest server's work", ours.seconds, ours.bound,
                   ours.bound / ours.seconds, "s", PROBLEMS),
            Figure(f"{name}: tokens; peer: whole ballots, nothing cancelled", ours.tokens, whole.tokens,
                   whole.tokens / ours.tokens, "tokens", PROBLEMS),
        ]  # fmt: skip
    return figures
