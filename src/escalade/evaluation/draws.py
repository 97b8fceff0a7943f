"""Draws: the exact distribution of the ballots that j of n recorded samples make, drawn without replacement.

For a decision a ballot matters by its signature alone, the votes of its classes in falling order and its abstentions,
and by whether its leader is right. Of n_c samples of class c, t are drawn in C(n_c, t) ways, so that the number of
ways to each signature is a product over the classes, multiplied out class by class:

    W(l + {t}) += C(n_c, t) W(l)        for every signature l and every t >= 1

The classes come from the largest sort key down. One that draws level with the leader so far then wins the tie, and
whether the leader is right is carried along. Where all samples have logprobs, a tie goes to the highest mean: of a
class with t votes each of its C(n_c, t) subsets is as likely as the other, whatever the other classes hold.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import numpy as np

from escalade.cascade.ballot import count
from escalade.evaluation.bank import Bank
from escalade.evaluation.lots import ABSTAINS, Bools, Floats, Ints, Lot
from escalade.evaluation.signatures import Signatures, number_of, signatures

CELLS = 1 << 25
"""The most problems times signatures that a table may have: 256 MB."""
SUBSETS = 20_000
"""Up to how many subsets of equal answers a problem's ties are worked out exactly."""
TRIES = 4_000
"""Seeded draws for the ties of a problem that has more."""
_COLUMNS = 1 << 14


@dataclass(frozen=True, slots=True)
class Spending:
    """What the samples of a lot add to quantities such as tokens, for Q quantities and N problems.

    As a sample of class c that is drawn next leaves n_c - 1 of its class to the draws before it, the product over the
    classes is taken with each in turn one sample short: its derivative, in the direction of the quantity's class sums.
    """

    adding: Floats
    """[Q, S, N] Sum over the voting samples of quantity times ways to the signature without it."""
    silent: Floats
    """[Q, N] Sum over the samples that abstain."""


@dataclass(frozen=True)
class Draws:
    """The ballots of up to k samples of a lot, of N problems. Problems with fewer than k samples are NaN."""

    lot: Lot
    k: int
    signatures: Signatures
    ways: Floats
    """[S, N] Ways to the votes of each signature, abstentions left out."""
    ways_right: Floats
    """[S, N] Those of them whose leader is right."""
    exact: Bools
    """[N] False where who wins a tie was estimated by seeded draws."""

    def ballots(self, j: int) -> Floats:
        """[S, N] Probability of each signature after j draws, with j less its votes as abstentions."""
        return np.asarray(self.ways * self._abstaining(j, 0) / self._all(j, 0))

    @property
    def right(self) -> Floats:
        """[S, N] Probability of each signature after k draws and that its leader is right."""
        return np.asarray(self.ways_right * self._abstaining(self.k, 0) / self._all(self.k, 0))

    def spending(self, quantities: Floats) -> Spending:
        """Return what the sample drawn next adds to each signature, of several quantities.

        Args:
            quantities: [Q, N, M], of each sample; NaN is unknown.
        """
        sizes, classes, k = self.lot.sizes, self.lot.classes, self.k
        ways, adding = _start(*self.ways.shape), np.zeros((len(quantities), *self.ways.shape))
        for c in range(sizes.shape[1]):
            total = np.where(classes == c, quantities, 0.0).sum(axis=2)[:, None]
            whole, short = _choose(sizes[:, c], k), _choose(sizes[:, c] - 1, k)
            following = adding + ways * (short[0] * total)
            grown = ways.copy()
            for t in range(1, min(k, int(sizes[:, c].max())) + 1):
                source, target = self.signatures.adding(t)
                grown[target] += ways[source] * whole[t]
                following[:, target] += adding[:, source] * whole[t] + ways[source] * (short[t] * total)
            ways, adding = grown, following
        return Spending(adding, np.where(classes == ABSTAINS, quantities, 0.0).sum(axis=2))

    def drawn_next(self, spending: Spending, when: Bools) -> Floats:
        """[Q, N] Expected sum over the samples that are drawn next when j draws have given certain signatures.

        Sum over j and samples s of q_s / n P(one of these signatures after j draws of the pool without s).

        Args:
            spending: of the same draws.
            when: [k, S] which signatures, for each j.
        """
        if not when.any():
            return np.zeros(spending.silent.shape)
        talking, silent = np.zeros(self.ways.shape), np.zeros(self.ways.shape)
        for j, met in enumerate(when):
            if met.any():
                rate = met[:, None] / (self._all(j, 1) * self.lot.n)
                talking += rate * self._abstaining(j, 0)
                silent += rate * self._abstaining(j, 1)
        talked = np.einsum("qsn,sn->qn", spending.adding, talking)
        return np.asarray(talked + spending.silent * np.einsum("sn,sn->n", self.ways, silent))

    def _abstaining(self, j: int, fewer: int) -> Floats:
        """[S, N] Ways to the abstentions that make j draws of a signature."""
        table = _choose(self.lot.abstaining - fewer, max(j, 0))
        left = j - self.signatures.size
        return np.where((left >= 0)[:, None], table[np.maximum(left, 0)], 0.0)

    def _all(self, j: int, fewer: int) -> Floats:
        """[N] Ways to draw j samples at all; NaN where there are too few of them for k."""
        return np.where(self.lot.n >= self.k, _choose(self.lot.n - fewer, j)[j], np.nan)


def draws_of(bank: Bank, alias: str, temperature: float, k: int) -> Draws | None:
    """Return the ballots of up to k samples, for all problems of the bank's root; None where they are too many.

    Example:
        >>> bank = Bank.of_recording("shipped")
        >>> draws = draws_of(bank, "0.5B", 0.7, 4)
        >>> float(draws.ballots(4).sum(axis=0).round(12).min())
        1.0
    """
    return bank.remembered(("draws", alias, temperature, k), lambda: _draws(bank.root, alias, temperature, k))


def _draws(bank: Bank, alias: str, temperature: float, k: int) -> Draws | None:
    lot = bank.lot(alias, temperature)
    parts = min(k, int((lot.sizes > 0).sum(axis=1).max(initial=1)))
    if number_of(k, parts) * len(lot.n) > CELLS:
        return None
    known = signatures(k, parts)
    ways, right = _multiplied(lot, k, known)
    voting = lot.classes >= 0
    spoken = voting & ~np.isnan(lot.logprob)
    contested = (lot.sizes > 0).sum(axis=1) > 1
    by_mean = contested & (spoken == voting).all(axis=1)
    mixed = contested & ~by_mean & spoken.any(axis=1)
    subsets = np.array([_subsets(sizes, k) for sizes in lot.sizes])
    estimated = (lot.n >= k) & (lot.loose | mixed | (by_mean & (subsets > SUBSETS)))
    _settle_ties(lot, k, known, right, np.flatnonzero(by_mean & ~estimated & (subsets > 0)))
    for row in np.flatnonzero(estimated):
        _estimate(bank, lot, int(row), k, known, ways, right)
    return Draws(lot, k, known, ways, right, ~estimated)


def _multiplied(lot: Lot, k: int, known: Signatures) -> tuple[Floats, Floats]:
    """[S, N] Ways to each signature, and those whose leader is right where the sort key decides ties."""
    # Many problems have the same sizes; each such profile is worked out once.
    profiles, which = np.unique(np.hstack([lot.sizes, lot.class_right]), axis=0, return_inverse=True)
    sizes, is_right = np.split(profiles, 2, axis=1)
    ways = _start(len(known.votes), len(profiles))
    right = np.zeros_like(ways)
    for c in range(sizes.shape[1]):
        choose = _choose(sizes[:, c], k)
        grown, grown_right = ways.copy(), right.copy()
        for t in range(1, min(k, int(sizes[:, c].max())) + 1):
            source, target = known.adding(t)
            leads = (t >= known.top[source])[:, None]
            grown[target] += ways[source] * choose[t]
            grown_right[target] += np.where(leads, ways[source] * is_right[:, c], right[source]) * choose[t]
        ways, right = grown, grown_right
    return ways[:, which.ravel()], right[:, which.ravel()]


def _settle_ties(lot: Lot, k: int, known: Signatures, right: Floats, rows: Ints) -> None:
    """Enter the ways to ties that a right class wins by its mean logprob, for these problems.

    A column for each way in which a right class can hold its t votes; of another class t votes count that have a
    lower mean, and all those of fewer votes.
    """
    right[np.ix_(known.tied, rows)] = 0.0
    for t in range(1, k // 2 + 1):
        owners: list[int] = []
        held: list[Floats] = []
        for row in rows:
            for below in _held(lot, int(row), t):
                owners += [int(row)] * below.shape[2]
                held.append(below)
            if len(owners) >= _COLUMNS or (row == rows[-1] and owners):
                _enter_ties(known, right, np.array(owners), np.concatenate(held, axis=2), t)
                owners, held = [], []


def _held(lot: Lot, row: int, t: int) -> Iterator[Floats]:
    """[C, t + 1, subsets] For each right class with t votes: ways to 0..t votes of each class that leave it leading."""
    sizes = lot.sizes[row]
    tied = [int(c) for c in np.flatnonzero(sizes >= t)]
    if len(tied) < 2:
        return
    means = {c: _means(lot.logprob[row][lot.classes[row] == c], t) for c in tied}
    for winner in tied:
        if not lot.class_right[row, winner]:
            continue
        below = np.zeros((len(sizes), t + 1, len(means[winner])))
        below[:, :t] = _choose(sizes, t)[:t].T[:, :, None]
        for c in tied:
            # Of equal means the class with the higher number leads.
            below[c, t] = np.searchsorted(means[c], means[winner], side="right" if winner > c else "left")
        below[winner] = 0.0
        below[winner, 0] = 1.0
        yield below


def _enter_ties(known: Signatures, right: Floats, owners: Ints, weights: Floats, t: int) -> None:
    ways = _start(len(known.votes), len(owners))
    for of_class in weights:
        grown = ways * of_class[0]
        for u in range(1, t + 1):
            if of_class[u].any():
                source, target = known.adding(u)
                grown[target] += ways[source] * of_class[u]
        ways = grown
    source, target = known.adding(t)
    ties = known.tied[target] & (known.top[target] == t)
    rows, starts = np.unique(owners, return_index=True)
    right[np.ix_(target[ties], rows)] += np.add.reduceat(ways[source[ties]], starts, axis=1)


def _means(logprobs: Floats, t: int) -> Floats:
    # As a ballot takes them, to the last digit: equal means are ties.
    return np.sort(np.array([math.fsum(chosen) / t for chosen in combinations(logprobs.tolist(), t)]))


def _subsets(sizes: Ints, k: int) -> int:
    """How many subsets of equal answers the ties of a problem take."""
    found = 0
    for t in range(1, k // 2 + 1):
        large = [int(n) for n in sizes if n >= t]
        if len(large) > 1:
            found += sum(math.comb(n, t) for n in large)
    return found


def _estimate(bank: Bank, lot: Lot, row: int, k: int, known: Signatures, ways: Floats, right: Floats) -> None:
    """Enter the ways to signatures with a right leader by the share of seeded draws in which it is right."""
    rng = np.random.default_rng([k, row])
    problem, samples = bank.problems[row], lot.samples[row]
    numbers = {s.key: (int(c), bool(r)) for s, c, r in zip(samples, lot.classes[row], lot.right[row], strict=False)}
    met, won = np.zeros(len(known.votes)), np.zeros(len(known.votes))
    for _ in range(TRIES):
        chosen = [samples[i] for i in rng.permutation(len(samples))[:k]]
        votes = np.bincount([c for s in chosen if (c := numbers[s.key][0]) >= 0], minlength=1)
        place = known.place[tuple(sorted(map(int, votes[votes > 0]), reverse=True))]
        if known.tied[place] or lot.loose[row]:
            names = bank.names(problem, chosen)
            leader = count(chosen, k, names=names).leader
            met[place] += 1
            won[place] += any(
                bank.grader.right(bank.kind(problem), s.key, problem.gold)
                for s in chosen
                if s.key is not None and names.get(s.key, s.key) == leader
            )
    seen = met > 0
    right[seen, row] = ways[seen, row] * won[seen] / met[seen]


def _start(signatures: int, columns: int) -> Floats:
    ways = np.zeros((signatures, columns))
    ways[0] = 1.0
    return ways


def _choose(n: Ints, k: int) -> Floats:
    """[k + 1, N] C(n, t) for t = 0..k; 0 where n < t."""
    return np.asarray(_binomials(int(n.max(initial=0)), k)[:, n + 1])


@lru_cache(maxsize=64)
def _binomials(most: int, k: int) -> Floats:
    """[k + 1, most + 2] C(n, t) for t = 0..k and n = -1..most."""
    return np.array([[0.0, *(float(math.comb(n, t)) for n in range(most + 1))] for t in range(k + 1)])
