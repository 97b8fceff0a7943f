"""The cascade machine: told samples, it says what it wants next, until it has an outcome. It does no I/O.

    start() ─> Draw ─> feed(sample) ─> ... ─> Cancel, Draw (the next tier, or more of this one) ─> ... ─> outcome

There is no clock, no network and no randomness in it: whatever the order in which the same samples arrive, the
status, the answer, its owner and the decisions are the same (`Outcome.verdict`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from escalade.cascade import decide
from escalade.cascade.ballot import Ballot, Standing, count, standing
from escalade.cascade.decide import Terms
from escalade.cascade.outcome import Decision, Look, Outcome, Status, TierTrace
from escalade.cascade.policy import Policy
from escalade.routes import Kind, Route, Tier
from escalade.samples.sample import Sample


@dataclass(frozen=True, slots=True)
class Draw:
    """Wanted: these samples of a tier."""

    tier: int
    indexes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Cancel:
    """No longer wanted: these samples of a tier."""

    tier: int
    indexes: tuple[int, ...]


Action = Draw | Cancel


@dataclass(slots=True)
class _Rung:
    """A tier being executed."""

    tier: Tier
    k: int
    """Seats now: the route's k, more after exploring."""
    samples: dict[int, Sample] = field(default_factory=dict)
    wanted: set[int] = field(default_factory=set)
    looks: list[Look] = field(default_factory=list)
    cut: int | None = None
    """Number of samples at which a probabilistic stop rule ended the tier; they alone are its ballot."""
    expired: bool = False
    terms: Terms | None = None
    """Of its decisions, made anew when its seats change."""

    def ballot_samples(self) -> list[Sample]:
        """The samples that vote, in no particular order."""
        if self.cut is None:
            return list(self.samples.values())
        return [sample for index, sample in self.samples.items() if index < self.cut]

    @property
    def seats(self) -> int:
        return self.k if self.cut is None else self.cut

    @property
    def open_seats(self) -> int:
        """How many of its seats no sample has taken."""
        return self.seats - len(self.ballot_samples())

    def trace(self) -> TierTrace:
        undecided = (Decision.EXPLORE, Decision.STOP)
        settled = bool(self.looks) and self.looks[-1].decision not in undecided and not self.expired
        saved = self.k - len(self.samples) if settled else 0
        return TierTrace(self.tier, self.k, len(self.samples), saved, tuple(self.looks))


class Machine:
    """Executes one route on one problem, told the samples.

    Args:
        route: as executed (`escalade.routes.executed`).
        policy: the settings of decisions.
        scores: success predicted before generation, by model alias.
        thresholds: per model alias, from the pool; the policy's own win.
        accuracies: calibrated accuracy of one sample, by alias; needed by aggregate = "weighted".
        costs: relative cost of a sample, by alias; of two equally sure tiers the cheaper one is fallen back on.
        notes: carried into the outcome.

    Example:
        >>> from escalade.routes import parse_route
        >>> from escalade.testing import votes
        >>> first, second, third = votes("4.0", "7", "4")
        >>> machine = Machine(parse_route("mv_cascade_1.5B_k3_t0.7_7B_k1_t0.0"), Policy(target=0.6))
        >>> machine.start()
        [Draw(tier=0, indexes=(0, 1, 2))]
        >>> machine.feed(0, third)
        []
        >>> machine.feed(0, first)
        [Cancel(tier=0, indexes=(1,))]
        >>> machine.outcome.status.value, machine.outcome.answer
        ('accepted', '4')
    """

    def __init__(
        self,
        route: Route,
        policy: Policy,
        *,
        scores: Mapping[str, float] | None = None,
        thresholds: Mapping[str, float] | None = None,
        accuracies: Mapping[str, float] | None = None,
        costs: Mapping[str, float] | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        self.route, self.policy = route, policy
        self._policies = [policy.at(tier.model, tier.temperature, tier.k) for tier in route.tiers]
        self.outcome: Outcome | None = None
        self.names: Mapping[str, str] = {}
        """The class of each key that shares one with other keys of this problem; set before a sample is fed."""
        self._scores = scores or {}
        self._thresholds = {**(thresholds or {}), **policy.thresholds}
        self._costs = costs or {}
        self._weights = decide.weights(route, policy, accuracies or {}, self._scores)
        self._stop = policy.stop_rule
        self._notes = list(notes)
        self._rungs: list[_Rung] = []
        self._ahead: _Rung | None = None
        """The next tier, where it was begun before the current one is decided."""
        self._falling_back = False

    def start(self) -> list[Action]:
        """Return the first wishes."""
        return self._enter()

    @property
    def position(self) -> int:
        """The tier that is being decided, by its place in the route."""
        return len(self._rungs) - 1

    @property
    def ballot(self) -> Ballot:
        """The ballot that decides now: the current tier's own, or that of all tiers so far."""
        return self._ballot_of(len(self._rungs) - 1)

    def drawn(self, tier: int) -> int:
        """How many samples of a tier have come."""
        return len(self._begun[tier].samples) if tier < len(self._begun) else 0

    def looks(self, tier: int) -> Sequence[Look]:
        """The looks at a tier's ballot so far."""
        return self._rungs[tier].looks if tier < len(self._rungs) else ()

    def wants(self, tier: int, index: int) -> bool:
        """Whether this sample of a tier is wanted now."""
        if self.outcome is not None or tier > len(self._rungs):
            return False
        rung = self._ahead if tier == len(self._rungs) else self._rungs[tier]
        return rung is not None and index in rung.wanted

    def feed(self, tier: int, sample: Sample) -> list[Action]:
        """Take one sample of a tier (its position in the route) and return what is wanted now.

        A sample that is not wanted (any more) is passed over: it was paid for, but nothing depends on it.
        """
        if not self.wants(tier, sample.index):
            return []
        ahead = self._ahead if tier == len(self._rungs) else None
        rung = ahead or self._rungs[tier]
        rung.wanted.discard(sample.index)
        rung.samples[sample.index] = sample
        if ahead is not None:  # it decides nothing before its turn
            return []
        if self._falling_back:
            return [] if rung.wanted else self._fall_back()
        return self._advance()

    def escalation(self) -> float | None:
        """Return P(the current tier escalates | its ballot so far); None where it cannot: see `decide.escalation`."""
        if self.outcome is not None or self._falling_back or len(self._rungs) == len(self.route.tiers):
            return None
        rung = self._rungs[-1]
        assert rung.terms is not None
        return decide.escalation(rung.terms, self.ballot, self._policies[len(self._rungs) - 1])

    def hedge(self) -> list[Action]:
        """Begin the next tier before the current one is decided (hedging): its samples are then there, or under way.

        They vote only if the current tier escalates, or when the machine is ended from outside. So the verdict is what
        it would have been, and only time and cost change.
        """
        if self.escalation() is None or self._ahead is not None:
            return []
        position = len(self._rungs)
        tier = self.route.tiers[position]
        self._ahead = _Rung(tier, tier.k)
        self._notes.append(f"{tier.model} was begun before {self.route.tiers[position - 1].model} had decided")
        return self._draw(position, self._ahead)

    def expire(self) -> list[Action]:
        """The current tier is out of time: it escalates; at the last one the best answer so far is the outcome."""
        if self.outcome is not None:
            return []
        if self._falling_back or len(self._rungs) == len(self.route.tiers):
            return self.end(Status.DEADLINE, "out of time")
        actions = self._drop_wanted(ahead=False)
        rung = self._rungs[-1]
        ballot = self.ballot
        rung.looks.append(Look(ballot, None, "", None, Decision.ESCALATE, f"out of time with {ballot.drawn} drawn"))
        rung.expired = True
        return actions + self._enter()

    def end(self, status: Status, reason: str) -> list[Action]:
        """Stop here, out of money, samples or time: the best answer so far is the outcome."""
        if self.outcome is not None:
            return []
        actions = self._drop_wanted()
        if self._rungs and not self._falling_back:
            position = len(self._rungs) - 1
            ballot = self._ballot_of(position)
            value, source = self._confidence(position, ballot)
            self._rungs[-1].looks.append(Look(ballot, value, source, None, Decision.STOP, reason))
        owner, answer, confidence = self._best()
        self._finish(status, owner, answer, confidence, reason)
        return actions

    def fail(self, reason: str) -> list[Action]:
        """An engine failed for good: the problem ends with the status `error` and no answer."""
        if self.outcome is not None:
            return []
        actions = self._drop_wanted()
        self._finish(Status.ERROR, None, None, None, reason)
        return actions

    def _enter(self) -> list[Action]:
        """Go to the next tier."""
        tier = self.route.tiers[len(self._rungs)]
        rung, self._ahead = self._ahead or _Rung(tier, tier.k), None
        self._rungs.append(rung)
        # A tier may be decided before anything is drawn: a single sample whose score is below the threshold.
        return self._advance(entering=True)

    def _advance(self, *, entering: bool = False) -> list[Action]:
        """Look at the current tier; move on where its decision is settled."""
        position = len(self._rungs) - 1
        rung = self._rungs[position]
        if rung.cut is None:
            rung.cut = decide.cut(rung.samples, rung.k, self._stop, self.names)
        if rung.terms is None or rung.cut is not None:
            rung.terms = self._terms(rung)
        terms, open_seats = rung.terms, rung.open_seats
        if not decide.settled(terms, self._standing(), open_seats, self._policies[position]):
            return self._draw(position, rung) if entering else []
        actions = self._drop_wanted(ahead=False)
        ballot = self.ballot
        look = decide.look(terms, ballot, open_seats, self._policies[position])
        rung.looks.append(look)
        if look.decision is Decision.EXPLORE:
            rung.k, rung.terms = decide.explored_k(rung.k, self.policy.max_k), None
            return actions + self._advance(entering=True)
        if look.decision is Decision.ESCALATE:
            return actions + self._enter()
        if look.decision is Decision.ABSTAIN:
            return actions + self._fall_back()
        status = Status.ACCEPTED if look.decision is Decision.ACCEPT else Status.LAST_TIER
        answer = ballot.leader
        assert answer is not None
        if ballot.tie:
            self._notes.append(f"tie between {' and '.join(ballot.tied)}")
        actions += self._drop_wanted()
        self._finish(status, self._owner(answer), answer, look.confidence)
        return actions

    def _draw(self, position: int, rung: _Rung) -> list[Action]:
        missing = tuple(i for i in range(rung.k) if i not in rung.samples and i not in rung.wanted)
        rung.wanted.update(missing)
        return [Draw(position, missing)]

    def _drop_wanted(self, *, ahead: bool = True) -> list[Action]:
        """Nothing is wanted any more; where not `ahead`, but for what was begun of the next tier."""
        actions: list[Action] = []
        for position, rung in enumerate(self._begun if ahead else self._rungs):
            if rung.wanted:
                actions.append(Cancel(position, tuple(sorted(rung.wanted))))
                rung.wanted.clear()
        return actions

    def _ballot_of(self, position: int) -> Ballot:
        return count(*self._cast(position), self.names)

    def _standing(self) -> Standing:
        """How the votes of the ballot that decides now stand."""
        return standing(*self._cast(len(self._rungs) - 1), self.names)

    def _cast(self, position: int) -> tuple[list[Sample], float, list[float] | None]:
        """The samples that vote, for how many seats, and their weights where ballots are aggregated."""
        if self._weights is None:
            rung = self._rungs[position]
            return rung.ballot_samples(), rung.seats, None
        samples: list[Sample] = []
        weights: list[float] = []
        seats: float = 0
        for weight, rung in zip(self._weights, self._rungs[: position + 1], strict=False):
            mine = rung.ballot_samples()
            samples += mine
            weights += [weight] * len(mine)
            seats += rung.seats * weight
        return samples, seats, weights

    def _terms(self, rung: _Rung) -> Terms:
        """The terms of the current tier."""
        alias = rung.tier.model
        threshold = rung.tier.threshold
        if threshold is None:
            threshold = self._thresholds.get(alias, self.policy.target)
        return Terms(
            k=rung.seats,
            weight=1.0 if self._weights is None else self._weights[len(self._rungs) - 1],
            # One vote in all says nothing; in a pooled ballot a single sample joins those below it.
            single=rung.seats == 1 and (self._weights is None or len(self._rungs) == 1),
            score=self._scores.get(alias),
            model=alias,
            threshold=threshold,
            last=len(self._rungs) == len(self.route.tiers),
            entropy_rule=self.route.kind is Kind.ENTROPY_CASCADE,
            may_explore=rung.tier.temperature > 0.0 and rung.cut is None,
            aggregated=self._weights is not None,
        )

    def _fall_back(self) -> list[Action]:
        """The last tier abstained: first whole ballots below it, then the surest of them."""
        self._falling_back = True
        for position, rung in enumerate(self._rungs[:-1]):
            if rung.cut is None and not rung.expired and len(rung.samples) < rung.k:
                # One tier after the other, as tiers of one model and temperature share their samples.
                return self._draw(position, rung)
        for position, rung in enumerate(self._rungs[:-1]):
            ballot = self._ballot_of(position)
            last = rung.looks[-1]
            if ballot.drawn > last.ballot.drawn:
                reason = f"the last tier abstained: the whole ballot, {ballot.first:g} of {ballot.k:g}"
                value, source = self._confidence(position, ballot)
                rung.looks.append(Look(ballot, value, source, last.threshold, last.decision, reason))
        owner, answer, confidence = self._best()
        if answer is None:
            self._finish(Status.NO_ANSWER, None, None, None, "no tier found an answer")
        else:
            self._finish(Status.FALLBACK, owner, answer, confidence, "the last tier abstained")
        return []

    def _best(self) -> tuple[int | None, str | None, float | None]:
        """The executed tier with the highest confidence and an answer; the cheaper one on a tie."""
        best: tuple[tuple[float, float, int], int, str, float | None] | None = None
        for position, rung in enumerate(self._begun):
            ballot = count(rung.ballot_samples(), rung.seats, names=self.names)
            if ballot.leader is None:
                continue
            value, _ = self._confidence(position, ballot)
            cost = self._costs.get(rung.tier.model, 0.0)
            rank = (-(-1.0 if value is None else value), cost, position)
            if best is None or rank < best[0]:
                best = (rank, position, ballot.leader, value)
        return (None, None, None) if best is None else best[1:]

    @property
    def _begun(self) -> list[_Rung]:
        """The tiers that were begun, the one ahead included."""
        return self._rungs if self._ahead is None else [*self._rungs, self._ahead]

    def _confidence(self, position: int, ballot: Ballot) -> decide.Confidence:
        rung = self._begun[position]
        score = self._scores.get(rung.tier.model)
        return decide.confidence(self._policies[position], ballot, single=rung.seats == 1, score=score)

    def _owner(self, answer: str) -> int:
        """The current tier; of an aggregated ballot, the first tier that voted for the answer.

        The first, because tiers below the last have whole ballots: samples left undrawn cannot change it.
        """
        if self._weights is None:
            return len(self._rungs) - 1
        return next(
            position
            for position, rung in enumerate(self._rungs)
            if any(self._class_of(sample) == answer for sample in rung.ballot_samples())
        )

    def _class_of(self, sample: Sample) -> str | None:
        return None if sample.key is None else self.names.get(sample.key, sample.key)

    def _finish(
        self, status: Status, owner: int | None, answer: str | None, confidence: float | None, note: str | None = None
    ) -> None:
        notes = tuple(dict.fromkeys([*self._notes, *([note] if note else [])]))
        traces = tuple(rung.trace() for rung in self._begun)
        equal = tuple(key for key, name in self.names.items() if name == answer != key)
        self.outcome = Outcome(status, answer, owner, confidence, traces, notes, equal)
