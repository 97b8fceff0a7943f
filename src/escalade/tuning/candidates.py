"""Candidates: the routes that recorded samples allow to try, each rule of decision once, and what each comes to.

They are enumerated, not sampled: one sample of each model, votes, and every cascade of two or three models that climbs
in the order of their cost, tiers in between left out or not. A threshold matters only by the ballots that reach it, so
that a tier of k votes has one threshold per number of votes, j/k, and a finer confidence one per value it can take.
Where every problem has scores of a model there are gates too: two of these routes, and a score that chooses between
them (`escalade.tuning.gating`). Which candidate is best is for `escalade.tuning.goals` to say.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import combinations, product

import numpy as np

from escalade.cascade.confidence import PRIOR
from escalade.cascade.policy import Policy
from escalade.errors import SettingError
from escalade.evaluation.bank import Bank, Floats, Ints
from escalade.evaluation.draws import draws_of
from escalade.evaluation.inventory import Shelf, by_cost, inventory
from escalade.evaluation.sheets import Case, priors, sheet, source
from escalade.problems import SCORING
from escalade.routes import Kind, Route, Tier
from escalade.tuning.candidate import Candidate as Candidate
from escalade.tuning.candidate import Sort as Sort
from escalade.tuning.candidate import deciding_scores, scored, try_one
from escalade.tuning.gating import gates_between, halves

VOTES = (2, 3, 4, 5, 6, 8, 12, 16)
"""Samples of a vote."""
LOW = (2, 3, 4, 5, 6, 8)
"""Samples of the lower tier of two."""
LOW_OF_THREE = (2, 3, 5, 8)
"""Samples of the two lower tiers of three."""
TOP = (1, 3, 5, 8)
"""Samples of the last tier of a cascade."""
BITS = (0.6, 0.9, 1.2)
"""Entropies that the entropy rule accepts at most."""
ENTROPY = (4, 8)
"""Samples, all drawn at once, of the lower tier under the entropy rule."""
VALUES = 12
"""Thresholds of a confidence that has more values than a tier has votes."""
MOST = 30_000
"""Candidates; where there would be more, those of three tiers are left out."""
EXPLORING_DRAWS = 100
DEFAULT_POLICIES = (Policy(), Policy(confidence="margin"))
"""Two confidences that tell different ballots apart: a share counts abstentions as dissent, a margin does not."""


@dataclass(frozen=True)
class Trials:
    """What C candidates come to on N problems, in expectation over all draws."""

    candidates: tuple[Candidate, ...]
    correct: Floats
    """[C, N] P(right)."""
    cost: Floats
    """[C, N] USD."""
    notes: tuple[str, ...] = ()
    between: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    """By the place of a candidate that chooses between two routes by a score, their places, the dearer one first."""

    def of(self, rows: Ints) -> Trials:
        """Return the trials on some of the problems."""
        return replace(self, correct=self.correct[:, rows], cost=self.cost[:, rows])

    def place(self, route: Route) -> int:
        """Return the place of the first candidate with a route and no gate.

        Raises:
            SettingError: there is none.
        """
        for place, candidate in enumerate(self.candidates):
            if candidate.routes == (route,):
                return place
        raise SettingError(
            f"route {str(route)!r} is not among the {len(self.candidates)} candidates: try it too (also)"
        )

    @cached_property
    def sides(self) -> Ints:
        """[C, 2] The places of the routes that a score chooses between; where none does, the candidate's own twice."""
        return np.array([self.between.get(place, (place, place)) for place in range(len(self.candidates))]).reshape(
            -1, 2
        )

    @property
    def sorts(self) -> Ints:
        """[C] `Sort` of each."""
        return np.array([candidate.sort for candidate in self.candidates], dtype=np.int64)


def try_all(
    bank: Bank,
    policies: Sequence[Policy] = DEFAULT_POLICIES,
    *,
    also: Sequence[Route] = (),
    exploring: bool = False,
    seed: int = 0,
) -> Trials:
    """Return what every candidate comes to on the problems of a bank.

    Args:
        bank: the recorded samples; every problem needs a gold answer, every sample a cost.
        policies: settings, confidence and stop rule above all, that every cascade is tried with; the first is that of
            single models too, on which they have no influence.
        also: routes that are tried in any case, first of all, with the first of the policies.
        exploring: whether cascades of the entropy rule that draw more where it pays are tried too; they have no
            closed form, and each takes 100 runs a problem.
        seed: of these runs.

    Raises:
        SettingError: a problem has no gold answer, a cost is unknown, or the stop rule has no closed form.
        TableError: a route of `also` asks for more than was recorded.

    Example:
        >>> trials = try_all(Bank.of_recording("shipped").subset(range(8)))
        >>> best = int(trials.correct.mean(axis=1).argmax())
        >>> trials.correct.shape == trials.cost.shape == (len(trials.candidates), 8), trials.candidates[best].single
        (True, True)
    """
    if not bank.has_gold.all():
        bad = bank.problems[int(np.argmin(bank.has_gold))].id
        raise SettingError(f"problem {bad!r} has no gold answer: leave it out, its accuracy cannot be told")
    if simulated := [policy.stop for policy in policies if policy.stop_rule.name in ("beta", "esc")]:
        raise SettingError(
            f"stop rule {simulated[0]!r} can only be simulated, and thousands of routes are tried: "
            "tune with verdict, exact or none, and compare the chosen route under this rule"
        )
    shelves = _usable(bank)
    if any(np.isnan(shelf.cost) for shelf in shelves):
        lacking = next(shelf.alias for shelf in shelves if np.isnan(shelf.cost))
        raise SettingError(
            f"the cost of {lacking} is unknown: its model has no price (give --pool FILE), or a sample no count of "
            "tokens (give --cost-column COLUMN)"
        )
    candidates = [Candidate(route, policies[0]) for route in also]
    notes: list[str] = []
    parts, places = list[Candidate](), list[int]()
    for number, policy in enumerate(policies):
        found, said = _enumerated(bank, shelves, policy, exploring=exploring and number == 0)
        if number == 0:
            own = halves([each.route for each in found])
            parts, places = [found[place] for place in own], [len(also) + place for place in own]
        candidates += [each for each in found if number == 0 or not each.single]
        notes += said
    cuts = {alias: _spread(bank.scores(alias)) for alias in bank.pool.aliases if scored(bank, alias)}
    gates = gates_between(bank, parts, cuts)
    plain = len(candidates)
    candidates += gates.candidates
    correct, cost = np.empty((len(candidates), len(bank))), np.empty((len(candidates), len(bank)))
    for place, each in enumerate(candidates[:plain]):
        correct[place], cost[place] = try_one(bank, each, draws=EXPLORING_DRAWS, seed=seed)
    gates.fill(correct[plain:], cost[plain:])
    notes += [*gates.notes, *_uncounted(bank, candidates)]
    between = _by_own_score(bank, candidates[:plain])
    between |= {plain + n: (places[gate.below], places[gate.above]) for n, gate in enumerate(gates.pairings)}
    return Trials(tuple(candidates), correct, cost, tuple(dict.fromkeys(notes)), between)


def _usable(bank: Bank) -> list[Shelf]:
    """The shelves that every problem has samples of, the cheapest first."""
    shelves = [shelf for shelf in inventory(bank) if shelf.least >= 1]
    if not shelves:
        raise SettingError(
            f"{bank.place} has no model that answered every problem: take the problems that have samples (--complete)"
        )
    order = by_cost(bank, shelves)
    return sorted(shelves, key=lambda shelf: order.index(shelf.alias))


def _enumerated(
    bank: Bank, shelves: Sequence[Shelf], policy: Policy, *, exploring: bool
) -> tuple[list[Candidate], list[str]]:
    if policy.confidence == PRIOR:
        _refuse_unscored(bank, shelves)
    routes = [Route(Kind.VOTE, (tier,)) for shelf in shelves for tier in _tiers(bank, shelf, (1, *VOTES))]
    lower = {shelf: _lower(bank, shelf, policy, LOW) for shelf in shelves}
    top = {shelf: _tiers(bank, shelf, TOP) for shelf in shelves}
    for low, high in _climbs(shelves, 2):
        routes += [Route(Kind.CASCADE, tiers) for tiers in product(lower[low], top[high])]
    few = {shelf: [tier for tier in lower[shelf] if tier.k == 1 or tier.k in LOW_OF_THREE] for shelf in shelves}
    count = sum(len(few[a]) * len(few[b]) * len(top[c]) for a, b, c in _climbs(shelves, 3))
    notes: list[str] = []
    if len(routes) + count > MOST:
        notes.append(f"cascades of three tiers are left out: there are {count:,}, and {MOST:,} candidates are the most")
    else:
        for first, second, third in _climbs(shelves, 3):
            routes += [Route(Kind.CASCADE, tiers) for tiers in product(few[first], few[second], top[third])]
    found = [Candidate(route, policy) for route in routes]
    if policy.confidence == "share":
        found += _entropy(bank, shelves, policy, exploring)
    return found, notes


def _climbs(shelves: Sequence[Shelf], tiers: int) -> Iterator[tuple[Shelf, ...]]:
    """Shelves of different models, each dearer than the one before."""
    for climb in combinations(shelves, tiers):
        if len({shelf.alias for shelf in climb}) == tiers:
            yield climb


def _tiers(bank: Bank, shelf: Shelf, sizes: Sequence[int]) -> list[Tier]:
    """The tiers without a threshold that were recorded and whose ballots can be listed."""
    if bank.pool[shelf.alias].greedy_only:
        return [Tier(shelf.alias, 1, 0.0)] if shelf.temperature == 0 else []
    sizes = [k for k in sizes if k <= shelf.least]
    return [
        Tier(shelf.alias, k, shelf.temperature)
        for k in sizes
        if k <= max(LOW) or draws_of(bank, shelf.alias, shelf.temperature, k) is not None
    ]


def _lower(bank: Bank, shelf: Shelf, policy: Policy, sizes: Sequence[int]) -> list[Tier]:
    """The tiers that may hand on, with every threshold that decides otherwise than the next."""
    out: list[Tier] = []
    for tier in _tiers(bank, shelf, (1, *sizes)):
        values = _single_values(bank, shelf, policy) if tier.k == 1 else _vote_values(bank, tier, policy)
        out += [replace(tier, threshold=value) for value in values]
    return out


def _vote_values(bank: Bank, tier: Tier, policy: Policy) -> list[float]:
    if policy.confidence == PRIOR:
        return _spread(priors(bank.scores(tier.model), tier.k, policy.prior_strength)[:, 1:])
    own = policy.at(tier.model, tier.temperature, tier.k)
    if source(own, single=False, scored=scored(bank, tier.model)) == "share":
        return [_just_below(votes / tier.k) for votes in range(1, tier.k + 1)]
    draws = draws_of(bank, tier.model, tier.temperature, tier.k)
    if draws is None:
        return []
    known = sheet(draws.signatures, Case(tier.model, tier.k, 1.0, None, last=False, entropy_rule=False), own)
    return _spread(known.confidence[draws.signatures.size > 0])


def _single_values(bank: Bank, shelf: Shelf, policy: Policy) -> list[float]:
    """Thresholds of a single sample: of the model's scores, else of its samples' logprobs."""
    own = policy.at(shelf.alias, shelf.temperature, 1)
    by = source(own, single=True, scored=scored(bank, shelf.alias))
    if by == "score":
        return _spread(bank.scores(shelf.alias))
    if by == "logprob":
        lot = bank.lot(shelf.alias, shelf.temperature)
        logprobs = lot.logprob[bank.index][lot.classes[bank.index] >= 0]
        return [] if np.isnan(logprobs).any() else _spread(np.exp(logprobs))
    return []


def _refuse_unscored(bank: Bank, shelves: Sequence[Shelf]) -> None:
    """A prior is made of scores: of every model that may hand on, which the dearest does not."""
    for alias in dict.fromkeys(shelf.alias for shelf in shelves):
        unknown = np.isnan(bank.scores(alias))
        if unknown.any() and alias != shelves[-1].alias:
            first = bank.problems[int(unknown.argmax())].id
            raise SettingError(
                f"confidence 'prior' needs a score of {alias} for every problem, and {first!r} has none: "
                f"give a table with score_{alias} (--scores FILE), or leave 'prior' out (--confidences)"
            )


def _spread(values: Floats) -> list[float]:
    """At most so many of the values, from one end to the other, as thresholds."""
    known = np.unique(values[values > 0])
    if len(known) > VALUES:
        known = np.quantile(values[values > 0], np.arange(1, VALUES + 1) / (VALUES + 1))
    return sorted({cut for value in known.tolist() if 0 < (cut := _just_below(value, 3)) <= 1})


def _just_below(value: float, digits: int = 2) -> float:
    """A short decimal that `value` reaches; of shares up to 16 votes the next smaller one does not."""
    scale = 10.0**digits
    return min(1.0, float(math.floor(value * scale + 1e-9)) / scale)


def _entropy(bank: Bank, shelves: Sequence[Shelf], policy: Policy, exploring: bool) -> Iterator[Candidate]:
    for low, high in _climbs(shelves, 2):
        for first, last in product(_tiers(bank, low, ENTROPY), _tiers(bank, high, TOP)):
            route = Route(Kind.ENTROPY_CASCADE, (first, last))
            for bits in BITS:
                yield Candidate(route, replace(policy, entropy_bits=bits, max_k=first.k))
            if exploring and first.temperature > 0 and first.k < max(ENTROPY) <= low.least:
                yield Candidate(route, replace(policy, max_k=max(ENTROPY)))


def _by_own_score(bank: Bank, candidates: Sequence[Candidate]) -> dict[int, tuple[int, int]]:
    """The cascades of two tiers whose first is a single sample that is as sure as its score: gates in another form."""
    places = {each.route: place for place, each in enumerate(candidates) if each.single}
    found: dict[int, tuple[int, int]] = {}
    for place, each in enumerate(candidates):
        first, last = each.route.tiers[0], each.route.tiers[-1]
        if each.sort is not Sort.PAIR or first.k > 1 or not deciding_scores(bank, each):
            continue
        cheap, dear = (places.get(Route(Kind.VOTE, (replace(tier, threshold=None),))) for tier in (first, last))
        if cheap is not None and dear is not None:
            found[place] = dear, cheap
    return found


def _uncounted(bank: Bank, candidates: Sequence[Candidate]) -> list[str]:
    """A note on scores that candidates decide by, and that come without a word on what they cost."""
    used = frozenset[str]().union(*(deciding_scores(bank, each) for each in candidates))
    unknown = [alias for alias in bank.pool.aliases if alias in used and bank.scoring([alias]) is None]
    if not unknown:
        return []
    columns = ", ".join(SCORING + alias for alias in unknown)
    return [f"what scores of {', '.join(unknown)} cost to make is not counted: there is no column {columns} (in USD)"]
