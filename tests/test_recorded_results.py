"""The page of recorded results: equal to what its script computes, and the models and rules behind it."""

import doctest
import importlib
import os
import pkgutil
import re
from collections import Counter
from itertools import permutations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import benchmarks.recorded
from benchmarks.recorded.__main__ import PAGE, main
from benchmarks.recorded.answering import Basis, World, basis_of
from benchmarks.recorded.ladder import largest_right, money
from benchmarks.recorded.measured import MEASURED, SOURCES, read
from benchmarks.recorded.odds import Asked, odds
from benchmarks.recorded.page import page
from benchmarks.recorded.pooled import pooled
from benchmarks.recorded.urns import Spread, Urn, fit_spread, majority_chance, majority_rate, urns
from benchmarks.recorded.verdicts import Kind, judge, mix
from escalade.cascade.machine import Machine
from escalade.cascade.policy import Policy
from escalade.errors import TableError
from escalade.routes import Kind as RouteKind
from escalade.routes import parse_route
from escalade.strategies import strategies
from escalade.testing import votes
from tests.cascade.drive import drive

FOLDER = Path(os.environ.get("ESCALADE_DATA", Path(__file__).parents[2] / "shared" / "data"))
NUMBER = re.compile(r"\d*\.?\d+")
MODELS = {"1.5B": "Qwen2.5-Math-1.5B-Instruct", "7B": "Qwen2.5-Math-7B-Instruct"}
COSTS = {"1.5B": 1.0, "7B": 2.0, "72B": 9.0}


def recorded() -> Path:
    file = FOLDER / "pools" / "kw_wide_math_test.parquet"
    if not file.exists():
        pytest.skip(f"recorded data absent: {file} (set ESCALADE_DATA to its folder)")
    return FOLDER


def skeleton(line: str) -> str:
    return NUMBER.sub("#", line)


def test_the_page_is_what_the_recorded_data_give() -> None:
    written, now = PAGE.read_text(encoding="utf-8").splitlines(), page(recorded()).splitlines()
    assert [skeleton(line) for line in written] == [skeleton(line) for line in now]
    for old, new in zip(written, now, strict=True):
        for a, b in zip(NUMBER.findall(old), NUMBER.findall(new), strict=True):
            # Another version of a library may round the last digit otherwise.
            digit = 10.0 ** -len(a.partition(".")[2])
            assert abs(float(a) - float(b)) <= 1.01 * digit, (old, new)


def test_the_page_names_every_strategy() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for each in strategies():
        if each.rule.__module__.startswith("escalade."):
            assert text.count(f"| `{each.name}` |") >= 2 * len(SOURCES), each.name


@pytest.mark.parametrize("module", [info.name for info in pkgutil.iter_modules(benchmarks.recorded.__path__)])
def test_examples_in_the_code_run(module: str) -> None:
    assert doctest.testmod(importlib.import_module(f"benchmarks.recorded.{module}")).failed == 0


def write_scores(folder: Path, problems: list[str], scores: dict[str, np.ndarray]) -> None:
    for alias, model in MODELS.items():
        place = folder / f"Qwen-{model}_maxlen_3000_k_1_temp_0.0"
        place.mkdir(parents=True)
        table = pd.DataFrame({"idx": range(len(problems)), "problem": problems, "score": scores[alias]})
        table.to_parquet(place / "scored.parquet")


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Invented measurements in the form of the recorded ones: 80 and 60 problems."""
    generator = np.random.default_rng(20251122)
    (tmp_path / "pools").mkdir()
    lines = []
    for (name, dataset), rows in zip(SOURCES.values(), (80, 60), strict=True):
        problems = [f"{dataset} {row}" for row in range(rows)]
        ease = generator.beta(1.5, 0.8, rows)
        table = {"problem": problems}
        scores = {}
        for alias, m in MEASURED.items():
            table[f"c_{m}_k1_t0.0"] = (generator.random(rows) < ease).astype(np.int16)
            scores[alias] = np.clip(ease + generator.normal(0, 0.15, rows), 0.01, 0.99)
            table[f"probe[math]_sr_{m}_k1_t0.0"] = scores[alias]
            if dataset.endswith("lighteval"):
                right = generator.binomial(8, ease)
                table[f"c_{m}_k8_t0.7"] = right
                table[f"mv_{m}_k8_t0.7"] = (right > 4) | ((right > 1) & (right <= 4) & (generator.random(rows) < 0.5))
        pd.DataFrame(table).to_parquet(tmp_path / "pools" / name)
        write_scores(tmp_path / "scored" / "DigitalLearningGmbH_MATH-lighteval_probe" / dataset, problems, scores)
        for alias, cost in COSTS.items():
            lines.append(f"{dataset},always_{alias},0.7{len(alias)},0.7,{cost},old_codebase/x,0")
        lines += [f"{dataset},mv_always_{alias},0.8,0.7,{6 * COSTS[alias]},old_codebase/x,0" for alias in MEASURED]
        lines.append(f"{dataset},cascade,0.75,0.7,6.5,old_codebase/x,0")
    head = "dataset,router,acc_col1,acc_col2,cost_usd,source_notebook,git_blob"
    (tmp_path / "pools" / "kw_reference_aggregates.csv").write_text("\n".join([head, *lines]), encoding="utf-8")
    return tmp_path


@pytest.fixture
def basis(small: Path) -> Basis:
    return basis_of(read(small, "MATH test"))


def test_a_page_is_made_of_any_such_folder_the_same_each_time(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = page(small)
    assert text == page(small)
    assert "## MATH test" in text and "(80 problems)" in text and "| `adaptive_k_sampling` |" in text
    assert "nan" not in text
    problems = pd.read_parquet(small / "pools" / "kw_wide_math_test.parquet")["problem"]
    assert not any(problem in text for problem in problems)


def test_what_is_missing_is_named(
    small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = small / "pools" / "kw_wide_gsm8k_test.parquet"
    file.unlink()
    monkeypatch.setattr("sys.argv", ["recorded", str(small)])
    assert main() == 2
    assert str(file) in capsys.readouterr().err


def test_scores_of_other_problems_are_refused(small: Path) -> None:
    file = small / "pools" / "kw_wide_math_test.parquet"
    pd.read_parquet(file).iloc[::-1].to_parquet(file)
    with pytest.raises(TableError, match="not those of the score files"):
        read(small, "MATH test")


def test_a_count_that_contradicts_its_majority_is_refused(small: Path) -> None:
    file = small / "pools" / "kw_wide_math_test.parquet"
    table = pd.read_parquet(file)
    table["c_m7b_k8_t0.7"], table["mv_m7b_k8_t0.7"] = 8, False
    table.to_parquet(file)
    basis = basis_of(read(small, "MATH test"))
    with pytest.raises(TableError, match="7B has 8 of 8 samples right where its majority is wrong"):
        basis.ours(np.full(80, "mv_7B_k4_t0.7", dtype=object))


def test_aggregates_come_back_out(basis: Basis) -> None:
    """Costs of single models, of votes and of the strategy fitted on; the accuracy of 72B however it is spread."""
    for alias, cost in COSTS.items():
        assert basis.ours(np.full(80, alias, dtype=object)).cost.sum() == pytest.approx(cost)
    for alias in MEASURED:
        vote = basis.ours(np.full(80, f"mv_{alias}_k8_t0.7", dtype=object))
        assert vote.cost.sum() == pytest.approx(6 * COSTS[alias])
        assert vote.right.tolist() == basis.measured.majority[alias].tolist()
        assert (vote.settled <= vote.cost + 1e-12).all()
    assert basis.ours(basis.routes("cascade")).cost.sum() == pytest.approx(6.5)
    assert money(basis.measured).length.mean() == pytest.approx(1)
    for spread in ("fitted", "flat", "nested"):
        right = largest_right(basis.measured, spread)
        assert right.mean() == pytest.approx(basis.measured.recorded["always_72B"][0].accuracy, abs=1 / 80)
        assert ((right >= 0) & (right <= 1)).all()


# Ours: what the live machine does, over every order in which samples can be drawn.


@pytest.mark.parametrize("rule", ["cascade", "entropy_cascade"])
@pytest.mark.parametrize(("target", "score"), [(0.9, 0.3), (0.9, 0.7), (0.5, 0.3)])
def test_odds_are_those_of_the_machine_over_all_orders(rule: str, target: float, score: float) -> None:
    parsed = parse_route(f"mv_{rule}_1.5B_k3_t0.7_72B_k1_t0.0")
    orders = sorted(set(permutations(["0"] * 3 + ["1"] * 3 + ["2"] * 2)))
    seen = Counter[str]()
    for order in orders:
        machine = Machine(parsed, Policy(target=target), scores={"1.5B": score})
        outcome = drive(machine, [votes(*order), votes("9")]).outcome
        seen["drawn"] += outcome.tiers[0].drawn
        seen["climbs"] += outcome.decided_by == 1
        if outcome.decided_by == 0:
            tied = outcome.tiers[0].looks[-1].ballot.tied
            seen["right"] += ("0" in tied) / len(tied)
    asked = Asked(3, 0.7, target, parsed.kind, last=False, score=score)
    one_by_one, at_once = (odds(Urn(3, (3, 2)), asked, at_once=at_once) for at_once in (False, True))
    wrong = len(orders) - seen["right"] - seen["climbs"]
    assert one_by_one == pytest.approx([x / len(orders) for x in (seen["right"], wrong, seen["climbs"], seen["drawn"])])
    assert at_once[:3] == pytest.approx(one_by_one[:3])
    assert at_once.drawn >= one_by_one.drawn


def test_a_route_is_the_sum_of_its_tiers(basis: Basis) -> None:
    """A problem with 8 of 8 right is settled by votes; the cascade's cost is each tier's, as often as it is reached."""
    route = np.full(80, "mv_cascade_1.5B_k4_t0.7_7B_k1_t0.0", dtype=object)
    found = basis.ours(route)
    sure = basis.measured.right["1.5B"] == 8
    assert sure.any() and (found.right[sure] == 1).all()
    first = basis.ours(np.full(80, "mv_1.5B_k4_t0.7", dtype=object)).cost
    above = basis.ours(np.full(80, "7B", dtype=object)).cost
    assert found.cost[sure] == pytest.approx(first[sure])
    assert ((found.cost >= first - 1e-12) & (found.cost <= first + above + 1e-12)).all()


# Their rule, and where it goes wrong.


def test_P10_pooled_votes_of_weak_samples_outvote_the_strongest() -> None:
    """1.5B [9, 9, 9, 8], 7B [9, 7, 7, 9], 72B [7], where 7 is right: 9 by their rule, 7 by ours."""
    small, medium = Urn(0, (3, 1)), Urn(2, (2,))
    theirs = pooled((((small, 1.0),), ((medium, 1.0),)), 4, shared=True)
    assert (theirs.accepted, theirs.if_right, theirs.reach[-1]) == (0.0, 0.0, 1.0)
    asked = Asked(4, 0.7, 0.9, RouteKind.CASCADE, last=False, score=None)
    assert odds(small, asked, at_once=True).climbs == odds(medium, asked, at_once=True).climbs == 1.0


def test_P11_a_unanimous_tier_is_accepted_by_our_rule_only() -> None:
    """1.5B [1, 2, 3, 4], 7B [7, 7, 7, 7]."""
    theirs = pooled((((Urn(0, (1, 1, 1, 1)), 1.0),), ((Urn(4, ()), 1.0),)), 4, shared=True)
    assert theirs.reach == (1.0, 1.0, 1.0)
    asked = Asked(4, 0.7, 0.9, RouteKind.CASCADE, last=False, score=None)
    assert odds(Urn(4, ()), asked, at_once=True)[:3] == (1.0, 0.0, 0.0)


def test_P12_a_single_sample_climbs_by_our_rule_only(basis: Basis) -> None:
    routes = np.full(80, "mv_cascade_1.5B_k1_t0.0_7B_k1_t0.0_72B_k1_t0.0", dtype=object)
    ours, theirs = basis.ours(routes), basis.published(routes)
    scores = basis.measured.scores
    assert theirs.right.tolist() == basis.measured.greedy["1.5B"].tolist()
    assert ours.largest.tolist() == ((scores["1.5B"] < 0.9) & (scores["7B"] < 0.9)).tolist()


def test_P5_the_entropy_prefix_changes_nothing_by_their_rule_only(basis: Basis) -> None:
    plain, entropy = (
        np.full(80, f"mv_{rule}_1.5B_k4_t0.7_7B_k4_t0.7_72B_k1_t0.0", dtype=object)
        for rule in ("cascade", "entropy_cascade")
    )
    assert basis.published(plain).right.tolist() == basis.published(entropy).right.tolist()
    assert basis.ours(plain).right.tolist() != basis.ours(entropy).right.tolist()


def test_P15_a_threshold_changes_what_climbs_by_our_rule_only(basis: Basis) -> None:
    low, high = (
        np.full(80, f"mv_cascade_1.5B_k4_t0.7_c{bound}_7B_k4_t0.7_72B_k1_t0.0", dtype=object) for bound in (0.5, 0.99)
    )
    assert basis.published(low).cost.tolist() == basis.published(high).cost.tolist()
    assert basis.ours(low).cost.sum() < basis.ours(high).cost.sum()


@pytest.mark.parametrize("shared", [True, False])
def test_their_rule_is_that_of_plain_counting(shared: bool) -> None:
    """Over every draw of 2 from each of two urns, with votes counted as their executor does."""
    small, medium = Urn(1, (2, 1)), Urn(2, (2,))
    answers = {"small": ["r", "a", "a", "b"], "medium": ["r", "r", *(["a", "a"] if shared else ["c", "c"])]}
    accepted = if_right = asked = 0.0
    pairs = list(permutations(range(4), 2))
    for one in pairs:
        # The most frequent wrong answer of a tier's own draw is the one that is shared.
        first = [answers["small"][i] for i in one]
        if shared and "b" in first and "a" not in first:
            first = ["a" if answer == "b" else answer for answer in first]
        if Counter(first).most_common(1)[0][1] == 2:
            accepted += first[0] == "r"
            continue
        for two in pairs:
            drawn = first + [answers["medium"][i] for i in two]
            asked += 1 / len(pairs)
            if_right += (Counter([*drawn, "r"]).most_common(1)[0][0] == "r") / len(pairs)
    found = pooled((((small, 1.0),), ((medium, 1.0),)), 2, shared=shared)
    assert found.accepted == pytest.approx(accepted / len(pairs))
    assert found.reach[1:] == pytest.approx([asked / len(pairs)] * 2)
    assert found.if_right == pytest.approx(if_right / len(pairs))


# Wrong answers behind counts.


@pytest.mark.parametrize("right", range(9))
@pytest.mark.parametrize("majority", [True, False])
def test_urns_give_back_the_majority_that_was_measured(right: int, majority: bool) -> None:
    found = urns(right, majority, "fitted", Spread(0.5, 1.5))
    if (right == 0 and majority) or (right > 4 and not majority):
        assert found == ()
        return
    assert sum(weight for _, weight in found) == pytest.approx(1)
    for urn, _ in found:
        assert urn.right + sum(urn.wrong) == 8
        assert majority_chance(urn) > 0 if majority else majority_chance(urn) < 1
    ((alike, _),), ((apart, _),) = (urns(right, majority, end, Spread(0.5, 1.5)) for end in ("alike", "apart"))
    assert max(alike.wrong, default=0) >= max(apart.wrong, default=0)
    assert len(alike.wrong) <= len(apart.wrong)


def test_the_spread_of_wrong_answers_is_found_again() -> None:
    truth = Spread(0.5, 1.5)
    generator = np.random.default_rng(20251122)
    right = generator.integers(0, 9, 20_000)
    rates = np.array([majority_rate(c, truth) for c in range(9)])
    found = fit_spread(right, generator.random(20_000) < rates[right])
    for c in range(1, 5):
        assert majority_rate(c, found) == pytest.approx(rates[c], abs=0.025)


def test_the_corners_bracket_the_fitted_world(basis: Basis) -> None:
    routes = np.full(80, "mv_cascade_1.5B_k4_t0.7_7B_k4_t0.7_72B_k1_t0.0", dtype=object)
    middle = basis.ours(routes).cost.sum()
    ends = [basis.ours(routes, World(wrong)).cost.sum() for wrong in ("alike", "apart")]
    assert ends[0] < middle < ends[1]


# Verdicts.


def test_a_mix_is_a_coin_between_two_models() -> None:
    models = {"S": (np.array([0.0, 1.0]), 1.0), "L": (np.array([1.0, 1.0]), 3.0)}
    for cost, right in ((1.0, [0.0, 1.0]), (1.5, [0.25, 1.0]), (3.0, [1.0, 1.0]), (9.0, [1.0, 1.0])):
        mixed = mix(models, cost)
        assert mixed is not None and mixed == pytest.approx(right)
    assert mix(models, 0.9) is None


def test_a_route_that_pays_more_for_no_gain_is_a_loss(basis: Basis) -> None:
    singles = {alias: basis.ours(np.full(80, alias, dtype=object)) for alias in COSTS}
    baseline = singles["7B"]
    dearer = baseline._replace(cost=2 * baseline.cost, settled=baseline.cost)
    assert judge(baseline, baseline, singles).kind is Kind.BASELINE
    loss = judge(dearer, baseline, singles)
    assert (loss.kind, loss.ratio, loss.settled_ratio) == (Kind.LOSS, pytest.approx(2), pytest.approx(1))
    perfect = dearer._replace(right=np.ones(80))
    assert judge(perfect, baseline, singles).kind is Kind.BETTER
    cheap = baseline._replace(right=np.zeros(80), cost=baseline.cost / 2)
    assert judge(cheap, baseline, singles).kind is Kind.WORSE
    # 80 problems are too few to show that a point is not lost.
    assert judge(baseline._replace(cost=baseline.cost / 2), baseline, singles).kind is Kind.OPEN
