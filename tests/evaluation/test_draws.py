"""Distributions of ballots against all subsets of the recorded samples."""

import itertools
import math
import random
from collections import Counter

import numpy as np
import pytest

from escalade.cascade.ballot import count
from escalade.evaluation import draws as module
from escalade.evaluation.bank import Bank
from escalade.evaluation.draws import draws_of
from escalade.evaluation.exact import evaluate
from escalade.evaluation.signatures import number_of, signatures
from tests.evaluation.pools import KIND, bank, single

MANY = ("1", "2", "3", "4", "0.5", "-1", "7/3")


def enumerated(of: Bank, row: int, k: int) -> tuple[Counter[tuple[int, ...]], Counter[tuple[int, ...]]]:
    """How many subsets of k samples have each signature, and how many of them a right leader."""
    problem, samples = of.problems[row], of.lot("S", 0.7).samples[row]
    ways: Counter[tuple[int, ...]] = Counter()
    right: Counter[tuple[int, ...]] = Counter()
    for chosen in itertools.combinations(samples, k):
        ballot = count(chosen, k, names=of.names(problem, chosen))
        votes = tuple(sorted((int(n) for _, n in ballot.votes), reverse=True))
        ways[votes] += 1
        right[votes] += of.grader.right(KIND, ballot.leader, problem.gold)
    return ways, right


@pytest.mark.parametrize("logprobs", [False, True])
@pytest.mark.parametrize(("n", "k"), [(1, 1), (6, 3), (8, 4), (9, 8), (10, 6)])
def test_ballots_and_right_leaders_equal_all_subsets(n: int, k: int, logprobs: bool) -> None:
    for seed in range(4):
        answers = MANY[: 2 + seed]
        of = bank(
            random.Random(f"{seed} {n} {k}"), {"S": n}, problems=3, silence=0.15, logprobs=logprobs, answers=answers
        )
        draws = draws_of(of, "S", 0.7, k)
        assert draws is not None and draws.exact.all()
        for row in range(3):
            ways, right = enumerated(of, row, k)
            for place, votes in enumerate(draws.signatures.votes):
                assert draws.ballots(k)[place, row] == pytest.approx(ways[votes] / math.comb(n, k), abs=1e-13)
                assert draws.right[place, row] == pytest.approx(right[votes] / math.comb(n, k), abs=1e-13)


def test_ballots_of_fewer_draws_come_from_the_same_table() -> None:
    of = bank(random.Random(1), {"S": 9}, silence=0.3)
    draws = draws_of(of, "S", 0.7, 6)
    assert draws is not None
    for j in range(7):
        ways, _ = enumerated(of, 0, j)
        found = {votes: p for votes, p in zip(draws.signatures.votes, draws.ballots(j)[:, 0], strict=True) if p}
        assert found == pytest.approx({votes: n / math.comb(9, j) for votes, n in ways.items()}, abs=1e-13)


def test_what_is_drawn_next_equals_all_ordered_draws() -> None:
    of = bank(random.Random(8), {"S": 6}, silence=0.3)
    draws, lot, k = draws_of(of, "S", 0.7, 4), of.lot("S", 0.7), 4
    assert draws is not None
    tokens = np.stack([np.ones(lot.completion.shape), lot.completion])
    spending = draws.spending(tokens)
    for place, votes in enumerate(draws.signatures.votes):
        for j in range(sum(votes), k):
            when = np.zeros((k, len(draws.signatures.votes)), dtype=bool)
            when[j, place] = True
            total = np.zeros(2)
            for order in itertools.permutations(range(6), j + 1):
                met = Counter(int(c) for c in lot.classes[0, list(order[:j])] if c >= 0)
                if tuple(sorted(met.values(), reverse=True)) == votes:
                    total += tokens[:, 0, order[j]]
            wanted = total / math.perm(6, j + 1)
            assert draws.drawn_next(spending, when)[:, 0] == pytest.approx(wanted, rel=1e-12, abs=1e-13)


def test_large_pools_keep_their_precision() -> None:
    """C(260, 16) has 26 digits: sums of probabilities and the majority's closed form still hold to 1e-12."""
    of = single({"S": ["1"] * 140 + ["2"] * 100 + [None] * 20}, gold="1")
    draws = draws_of(of, "S", 0.7, 15)
    assert draws is not None
    assert draws.ballots(15).sum() == pytest.approx(1.0, abs=1e-12)
    wins = sum(
        math.comb(140, a) * math.comb(100, b) * math.comb(20, 15 - a - b)
        for a in range(16)
        for b in range(16 - a)
        if a > b or (a == b and a > 0)
    )
    assert draws.right.sum() == pytest.approx(wins / math.comb(260, 15), abs=1e-12)


def test_problems_with_too_few_samples_are_nan() -> None:
    of = bank(random.Random(1), {"S": 4}, problems=2)
    rows = {**of.rows, ("p1", "S"): type(of.rows["p1", "S"])(*(part[:2] for part in of.rows["p1", "S"]))}
    draws = draws_of(Bank(of.pool, of.problems, rows, "short"), "S", 0.7, 3)
    assert draws is not None
    assert draws.ballots(3)[:, 0].sum() == pytest.approx(1.0) and np.isnan(draws.ballots(3)[:, 1]).all()


def test_ties_that_hang_on_which_equal_key_was_drawn_are_estimated_and_marked() -> None:
    # y+1 and its longer form are one class, called after the smaller of those drawn; x lies between them.
    of = single({"S": [r"\sin^2(x)+\cos^2(x)+y", "y+1", "x", "x"]}, gold="x")
    draws = draws_of(of, "S", 0.7, 2)
    assert draws is not None and of.lot("S", 0.7).loose[0] and not draws.exact[0]
    ways, right = enumerated(of, 0, 2)
    assert right[1, 1] == 2  # x leads where y+1 is drawn alone
    for place, votes in enumerate(draws.signatures.votes):
        assert draws.ballots(2)[place, 0] == pytest.approx(ways[votes] / 6, abs=1e-13)
        assert draws.right[place, 0] == pytest.approx(right[votes] / 6, abs=0.05)


@pytest.mark.parametrize("why", ["some logprobs are missing", "too many subsets"])
def test_ties_that_are_not_closed_are_estimated_and_marked(why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [("1", -0.1), ("1", -0.9), ("2", -0.2), ("2", -0.8), ("3", -0.5)]
    if why == "too many subsets":
        monkeypatch.setattr(module, "SUBSETS", 3)
    row = [*answers[:4], "3"] if why == "some logprobs are missing" else answers
    of = single({"S": row}, gold="1")
    draws = draws_of(of, "S", 0.7, 3)
    assert draws is not None and not draws.exact[0]
    found = evaluate(of, "mv_S_k3_t0.7")
    assert not found.exact and found.draws is None
    ways, right = enumerated(of, 0, 3)
    assert found.correct[0] == pytest.approx(sum(right.values()) / 10, abs=0.03)
    assert {v: p for v, p in zip(draws.signatures.votes, draws.ballots(3)[:, 0], strict=True) if p} == pytest.approx(
        {votes: n / 10 for votes, n in ways.items()}
    )


def test_ballots_that_are_too_many_to_list_are_simulated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CELLS", 10)
    of = bank(random.Random(1), {"S": 6})
    assert draws_of(of, "S", 0.7, 5) is None
    assert evaluate(of, "mv_S_k5_t0.7", draws=10).draws == 10


@pytest.mark.parametrize(("k", "parts"), [(0, 1), (1, 1), (5, 5), (8, 3), (12, 12)])
def test_signatures_are_all_partitions(k: int, parts: int) -> None:
    wanted = {
        tuple(sorted((n for n in votes if n), reverse=True))
        for votes in itertools.product(range(k + 1), repeat=min(parts, 4))
        if sum(votes) <= k
    }
    found = signatures(k, parts).votes
    assert len(found) == len(set(found)) == number_of(k, parts)
    assert {votes for votes in found if len(votes) <= 4} == wanted
    assert list(map(sum, found)) == sorted(map(sum, found))
