import random
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from escalade.errors import PoolError, ScoreError, StrategyError
from escalade.pool import load_pool
from escalade.routes import Kind, Route, executed, parse_route
from escalade.scores import Scores
from escalade.strategies import (
    COSTS,
    Inputs,
    Strategy,
    get_strategy,
    load_strategy,
    samples_for,
    strategies,
    strategy,
)
from escalade.strategies.ladder import LADDER

POOL = load_pool("qwen2.5-math")
NAMES = [
    "random", "always_1.5B", "always_7B", "always_72B", "cascade", "bayesian_robust",
    "disagreement_0.10", "disagreement_0.15", "disagreement_0.20",
    "cost_utility", "adjusted_thresholds", "expected_cost",
    "mv_always_1.5B", "mv_always_7B", "mv_always_72B",
    "mv_adaptive_escalation_tight", "mv_adaptive_escalation_loose",
    "adaptive_k_sampling", "adaptive_k_sampling_with_escalation",
    "adaptive_k_sampling_with_dual_escalation", "adaptive_k_sampling_with_entropy_escalation",
]  # fmt: skip
EDGES = [
    0.0,
    0.1,
    0.2,
    0.3,
    0.375,
    0.39999,
    0.4,
    0.5,
    0.6,
    0.7,
    0.75,
    0.7500001,
    0.8,
    0.84999,
    0.85,
    0.875,
    0.9,
    0.95,
    1.0,
]
TARGETS = [0.0, 0.3, 0.5, 0.8, 0.85, 0.9, 0.95, 1.0]


# The table of the design, once more: row by row, in exact decimal arithmetic, knowing nothing of the module.


def dec(value: float) -> Fraction:
    return Fraction(Decimal(repr(value)))


def in_turn(first: bool, second: bool) -> str:
    return "1.5B" if first else "7B" if second else "72B"


def best(p1: float, p7: float, target: float, merits: tuple[Fraction, Fraction]) -> str:
    able = [
        (merit, -at, m)
        for at, (p, m, merit) in enumerate([(p1, "1.5B", merits[0]), (p7, "7B", merits[1])])
        if p >= target
    ]
    return max(able)[2] if able else "72B"


def adaptive(p1: float, p7: float, prefix: str = "mv_cascade_", skip: bool = False, dual: bool = False) -> str:
    if p1 >= 0.85:
        return "mv_1.5B_k1_t0.0"
    whole = 8 * (1 - dec(p1))
    k = min(max(whole.numerator // whole.denominator, 1), 8)
    t = "0.0" if k == 1 else "0.7"
    if dual and k >= 5 and p7 < 0.4:
        return "mv_cascade_72B_k1_t0.0"
    small = "" if skip and k >= 5 else f"1.5B_k{k}_t{t}_"
    return f"{prefix}{small}7B_k{k}_t{t}_72B_k1_t0.0"


def gap(p1: float, p7: float) -> Fraction:
    return abs(dec(p1) - dec(p7))


def differ(limit: str) -> Callable[[float, float, float], str]:
    return lambda p1, p7, t: in_turn(p1 >= t and gap(p1, p7) < Fraction(limit), p7 >= t)


def votes(small: str, medium: str) -> Callable[[float, float, float], str]:
    def rule(p1: float, p7: float, t: float) -> str:
        d = gap(p1, p7)
        return "mv_1.5B_k8_t0.7" if d > Fraction(small) else "mv_7B_k8_t0.7" if d > Fraction(medium) else "72B"

    return rule


SCALAR: dict[str, Callable[[float, float, float], str]] = {
    **{f"always_{m}": lambda p1, p7, t, m=m: m for m in ("1.5B", "7B", "72B")},
    **{f"mv_always_{m}": lambda p1, p7, t, m=m: f"mv_{m}_k8_t0.7" for m in ("1.5B", "7B", "72B")},
    "cascade": lambda p1, p7, t: in_turn(p1 >= t, p7 >= t),
    "bayesian_robust": lambda p1, p7, t: in_turn(p1 >= t and p7 >= t, p7 >= t),
    "disagreement_0.10": differ("0.10"),
    "disagreement_0.15": differ("0.15"),
    "disagreement_0.20": differ("0.20"),
    "cost_utility": lambda p1, p7, t: best(p1, p7, t, (dec(p1), dec(p7) / 2)),
    "adjusted_thresholds": lambda p1, p7, t: in_turn(p1 >= t, dec(p7) >= dec(t) - Fraction("0.05")),
    "expected_cost": lambda p1, p7, t: best(p1, p7, t, (dec(p1) - 1, 2 * (dec(p7) - 1))),
    "mv_adaptive_escalation_tight": votes("0.15", "0.10"),
    "mv_adaptive_escalation_loose": votes("0.20", "0.15"),
    "adaptive_k_sampling": lambda p1, p7, t: adaptive(p1, p7),
    "adaptive_k_sampling_with_escalation": lambda p1, p7, t: adaptive(p1, p7, skip=True),
    "adaptive_k_sampling_with_dual_escalation": lambda p1, p7, t: adaptive(p1, p7, skip=True, dual=True),
    "adaptive_k_sampling_with_entropy_escalation": lambda p1, p7, t: adaptive(p1, p7, prefix="mv_entropy_cascade_"),
}


def full(word: str) -> str:
    return POOL[word].name if word in POOL else word


def pairs() -> list[tuple[float, float]]:
    generator = random.Random(7)
    drawn = [(generator.random(), generator.random()) for _ in range(1000)]
    decimals = [(generator.randrange(101) / 100, generator.randrange(101) / 100) for _ in range(2000)]
    return drawn + decimals + [(a, b) for a in EDGES for b in EDGES]


def scores(rows: list[tuple[float, float]]) -> Scores:
    return Scores({"1.5B": [p for p, _ in rows], "7B": [p for _, p in rows]})


def test_the_catalogue_is_the_design_s() -> None:
    shipped = [s for s in strategies() if s.rule.__module__.startswith("escalade.")]
    assert [s.name for s in shipped] == NAMES
    assert set(SCALAR) == set(NAMES) - {"random"}
    assert all(s.doc for s in shipped)


@pytest.mark.parametrize("name", SCALAR)
@pytest.mark.parametrize("target", TARGETS)
def test_every_rule_agrees_with_its_scalar_form(name: str, target: float) -> None:
    rows = pairs()
    routes = get_strategy(name).routes(scores(rows), target=target).tolist()
    wrong = [(row, got) for row, got in zip(rows, routes, strict=True) if got != full(SCALAR[name](*row, target))]
    assert wrong == []


@pytest.mark.parametrize("name", NAMES)
def test_every_route_is_canonical_and_known_to_the_pool(name: str) -> None:
    for route in set(get_strategy(name).routes(scores(pairs()))):
        assert str(parse_route(route, POOL)) == route


@pytest.mark.parametrize(
    ("alias", "name"),
    [("72b_robust", "bayesian_robust"), *((f"mv_{name}", name) for name in NAMES if name.startswith("adaptive_k"))],
)
def test_other_names(alias: str, name: str) -> None:
    assert get_strategy(alias) is get_strategy(name)


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(StrategyError, match=r"no strategy 'casade'; did you mean 'cascade'\?; `escalade strategies`"):
        get_strategy("casade")


def test_p22_floors_are_exact() -> None:
    assert samples_for(np.array([0.75, 0.875, 0.5, 0.0, 1.0, 0.75 + 1e-12])).tolist() == [2, 1, 4, 8, 1, 1]
    tenths = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0])
    assert samples_for(tenths, most=10).tolist() == list(range(1, 11))
    assert samples_for(np.array([1e-17])).tolist() == [7]


def test_random_is_seeded_and_uniform() -> None:
    rows = Scores(ids=range(30_000))
    draws = get_strategy("random").routes(rows, seed=1)
    assert draws.tolist() == get_strategy("random").routes(rows, seed=1).tolist()
    assert draws.tolist() != get_strategy("random").routes(rows, seed=2).tolist()
    counts = pd.Series(draws).value_counts()
    assert set(counts.index) == {full(m) for m in COSTS} and counts.between(9_700, 10_300).all()


@pytest.mark.parametrize("name", NAMES)
def test_needs_are_exactly_what_a_rule_looks_at(name: str) -> None:
    chosen = get_strategy(name)
    only = Scores({alias: [0.1, 0.6] for alias in chosen.needs}, ids=[0, 1])
    assert len(chosen.routes(only)) == 2
    for alias in chosen.needs:
        with pytest.raises(StrategyError, match=rf"needs scores of .*{alias}.*add the column score_"):
            chosen.routes(Scores({a: v for a, v in only.columns.items() if a != alias}, ids=[0, 1]))


@pytest.mark.parametrize("target", [-0.1, 1.1, float("nan"), float("inf"), "0.9", None])
def test_a_target_is_a_number_in_0_1(target: object) -> None:
    with pytest.raises(StrategyError, match="target confidence is"):
        get_strategy("always_7B").routes(Scores(ids=[1]), target=target)  # type: ignore[arg-type]


def test_costs_come_from_the_caller_then_the_pool() -> None:
    both = Scores({"1.5B": [0.5], "7B": [0.9]})
    rule = get_strategy("cost_utility")
    assert rule.routes(both, target=0.5).tolist() == [full("1.5B")]
    assert rule.routes(both, target=0.5, costs={"1.5B": 1, "7B": 1}).tolist() == [full("7B")]
    dear = POOL.model_copy(update={"models": tuple(m.model_copy(update={"cost": 5.0}) for m in POOL.models)})
    assert rule.routes(both, target=0.5, pool=dear).tolist() == [full("7B")]
    with pytest.raises(StrategyError, match="no cost of 7B"):
        rule.routes(both, costs={"1.5B": 1})
    with pytest.raises(StrategyError, match="cost of 7B is 0"):
        rule.routes(both, costs={"7B": 0})


# P23. Three ways to be dearer: a stronger first tier, a first tier that costs more, a dearer longest path.


def path(route: Route) -> list[float]:
    return [COSTS[tier.model] * tier.k for tier in executed(route, POOL).route.tiers]


def first_model(route: Route) -> float:
    return COSTS[route.tiers[0].model]


def first_tier(route: Route) -> float:
    return path(route)[0]


def longest(route: Route) -> float:
    return sum(path(route))


MONOTONE = [
    *((name, measure) for name in ("cascade", "bayesian_robust", "adjusted_thresholds", "adaptive_k_sampling",
                                   "adaptive_k_sampling_with_entropy_escalation")
      for measure in (first_model, first_tier, longest)),
    ("adaptive_k_sampling_with_escalation", first_model),
    ("adaptive_k_sampling_with_escalation", first_tier),
    ("adaptive_k_sampling_with_dual_escalation", first_model),
]  # fmt: skip
score = st.one_of(st.floats(0, 1), st.integers(0, 40).map(lambda n: n / 40))


def prices(name: str, measure: Callable[[Route], float], rows: list[tuple[float, float]], target: float) -> list[float]:
    routes = get_strategy(name).routes(scores(rows), target=target)
    return [measure(parse_route(route, POOL)) for route in routes]


@pytest.mark.parametrize(("name", "measure"), MONOTONE)
@settings(deadline=None)  # a busy machine is no failure
@given(p1=score, p7=score, higher=score, raises_first=st.booleans(), target=score)
def test_p23_a_higher_score_never_makes_the_route_dearer(
    name: str, measure: Callable[[Route], float], p1: float, p7: float, higher: float, raises_first: bool, target: float
) -> None:
    raised = (max(p1, higher), p7) if raises_first else (p1, max(p7, higher))
    before, after = prices(name, measure, [(p1, p7), raised], target)
    assert after <= before


@settings(deadline=None)
@given(p1=score, p7=score, target=st.floats(0.5, 1))
def test_cost_utility_is_the_cascade_from_a_target_of_one_half(p1: float, p7: float, target: float) -> None:
    one = scores([(p1, p7)])
    assert get_strategy("cost_utility").routes(one, target=target) == get_strategy("cascade").routes(one, target=target)


@pytest.mark.parametrize(
    ("name", "measure", "low", "high", "target"),
    [
        ("expected_cost", longest, (0.8, 0.8), (0.8, 0.95), 0.8),
        ("cost_utility", longest, (0.3, 0.5), (0.3, 0.9), 0.2),
        ("disagreement_0.10", longest, (0.9, 0.85), (0.98, 0.85), 0.8),
        ("mv_adaptive_escalation_tight", first_model, (0.5, 0.8), (0.75, 0.8), 0.9),
        ("adaptive_k_sampling_with_escalation", longest, (0.3, 0.5), (0.5, 0.5), 0.9),
        ("adaptive_k_sampling_with_dual_escalation", first_tier, (0.3, 0.3), (0.3, 0.4), 0.9),
    ],
)
def test_p23_the_published_rules_that_are_not_monotone(
    name: str, measure: Callable[[Route], float], low: tuple[float, float], high: tuple[float, float], target: float
) -> None:
    before, after = prices(name, measure, [low, high], target)
    assert after > before
    assert "monotone" in get_strategy(name).doc.lower()


def test_p12_the_greedy_first_tiers_of_adaptive_k() -> None:
    route = parse_route(get_strategy("adaptive_k_sampling").routes(scores([(0.8, 0.8)]))[0], POOL)
    assert route.kind is Kind.CASCADE and [tier.k for tier in route.tiers] == [1, 1, 1]


# A user's own strategies.


def test_a_decorated_function_is_found_by_its_names() -> None:
    @strategy("mine", aliases=("my_own",), needs=("7B",))
    def mine(inputs: Inputs) -> list[str]:
        """Mine."""
        return ["7B" if p >= inputs.target else "mv_7B_k4_t0.7" for p in inputs.scores["7B"]]

    assert get_strategy("my_own") is get_strategy("mine") is mine and mine.doc == "Mine."
    assert mine.routes(Scores({"7B": [0.95, 0.1]})).tolist() == [full("7B"), "mv_7B_k4_t0.7"]
    assert mine(Inputs(Scores({"7B": [0.1]}), target=0.1)) == ["7B"]


def test_the_same_function_may_come_again_but_a_taken_name_not() -> None:
    for answer in ("7B", "72B"):

        @strategy("again", aliases=(f"once_{answer}",))
        def again(inputs: Inputs, answer: str = answer) -> list[str]:
            return [answer] * inputs.rows

    assert get_strategy("again").routes(Scores(ids=[1])).tolist() == [full("72B")]
    with pytest.raises(StrategyError, match="no strategy 'once_7B'"):
        get_strategy("once_7B")
    for name, aliases in (("cascade", ()), ("fresh", ("72b_robust",))):
        with pytest.raises(StrategyError, match="is taken by"):
            strategy(name, aliases=aliases)(lambda inputs: [])
    with pytest.raises(StrategyError, match="as it names files"):
        strategy("a/b")(lambda inputs: [])


@pytest.mark.parametrize(
    "column",
    [
        list,
        np.array,
        pd.Series,
        pd.Categorical,
        lambda r: np.array(r, dtype=object),
        lambda r: pd.Series(r, [8, 3], dtype="category"),
    ],
)
def test_a_column_of_strings_may_have_any_form(column: Callable[[list[str]], object]) -> None:
    made = strategy("formed")(lambda inputs: column(["7B", "mv_7B_k2_t0.7"]))
    routes = made.routes(Scores(ids=[1, 2]))
    assert routes.tolist() == [full("7B"), "mv_7B_k2_t0.7"] and routes.dtype == object


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (["7B"], "gave 1 routes for 2 problems"),
        ("7B", "gave '7B': give a list"),
        (None, "gave None: give a list"),
        ([["7B"], ["7B"]], "give a list"),
        ([["7B"], ["7B", "7B"]], "give a list"),
        (pd.DataFrame({"a": ["7B", "7B"]}), "give a list"),
        (["7B", None], "gave None for row b"),
        (["7B", 7], "gave 7 for row b"),
        (pd.Series(["7B", None]), "gave nan for row b"),
        (pd.Categorical(["7B", None]), "gave nan for row b"),
    ],
)
def test_what_is_no_column_of_strings_is_refused(given: object, complaint: str) -> None:
    made = strategy("odd")(lambda inputs: given)
    with pytest.raises(
        StrategyError, match=f"strategy 'odd' {complaint}" if complaint.startswith("gave") else complaint
    ):
        made.routes(Scores(ids=["a", "b"]))


def test_what_a_rule_raises_is_told_with_its_name() -> None:
    with pytest.raises(StrategyError, match=r"strategy 'fails' raised ZeroDivisionError") as caught:
        strategy("fails")(lambda inputs: 1 // 0).routes(Scores(ids=[1]))
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    with pytest.raises(ScoreError, match="no scores of '7B'"):
        strategy("undeclared")(lambda inputs: inputs.scores["7B"]).routes(Scores(ids=[1]))


def test_a_rule_cannot_change_the_scores() -> None:
    def rule(inputs: Inputs) -> object:
        inputs.scores["7B"][:] = 1.0
        return ["7B"]

    with pytest.raises(StrategyError, match="read-only"):
        strategy("meddles")(rule).routes(Scores({"7B": [0.5]}))


# A user's file.

FILE = """
from dataclasses import dataclass
from escalade.strategies import Inputs, strategy

@dataclass
class Settings:
    model: str = "7B"

@strategy("from_file", aliases=("from_disk",))
def decorated(inputs: Inputs):
    return [Settings().model] * inputs.rows

def bare(inputs):
    return ["72B"] * inputs.rows
"""


def test_a_strategy_is_loaded_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "my strategies.py"
    file.write_text(FILE)
    for name in ("from_file", "from_disk", "decorated"):
        assert load_strategy(f"{file}:{name}").name == "from_file"
    assert load_strategy(f"{file}:bare").routes(Scores(ids=[1])).tolist() == [full("72B")]
    with pytest.raises(StrategyError, match=r"has from_file, bare; did you mean 'bare'"):
        load_strategy(f"{file}:bear")


def test_a_file_that_cannot_be_loaded(tmp_path: Path) -> None:
    with pytest.raises(StrategyError, match=r"give it as path/to/file.py:name"):
        load_strategy("file.py")
    with pytest.raises(StrategyError, match="there is no file"):
        load_strategy(f"{tmp_path / 'none.py'}:x")
    file = tmp_path / "broken.py"
    file.write_text(FILE + "\n1 / 0\n")
    with pytest.raises(StrategyError, match="raised ZeroDivisionError"):
        load_strategy(f"{file}:from_file")
    with pytest.raises(StrategyError, match="no strategy"):
        get_strategy("from_file")
    file.write_text("def (")
    with pytest.raises(StrategyError, match="raised SyntaxError"):
        load_strategy(f"{file}:x")


EMBEDDED = load_pool("embedded")


def test_a_ladder_stands_for_the_published_models() -> None:
    known = Scores({"0.5B": [0.9, 0.8, 0.5, 0.2], "1.5B": [0.1, 0.1, 0.9, 0.1]}, ids="abcd")
    names = {alias: EMBEDDED[alias].name for alias in EMBEDDED.aliases}
    adaptive = get_strategy("adaptive_k_sampling")
    assert adaptive.routes(known, pool=EMBEDDED).tolist() == [
        "mv_0.5B_k1_t0.0",
        "mv_cascade_0.5B_k1_t0.0_1.5B_k1_t0.0",  # of 7B and 72B, which are one model here, one tier is left
        "mv_cascade_0.5B_k4_t0.7_1.5B_k4_t0.7_1.5B_k1_t0.0",
        "mv_cascade_0.5B_k6_t0.7_1.5B_k6_t0.7_1.5B_k1_t0.0",
    ]
    plain = get_strategy("cascade").choose(known, pool=EMBEDDED)
    assert plain.routes.tolist() == [names["0.5B"], names["1.5B"], names["1.5B"], names["1.5B"]] and plain.notes == ()
    always = get_strategy("always_1.5B").routes(Scores(ids=[1]), pool=EMBEDDED)
    assert always.tolist() == [names["0.5B"]], "1.5B is the published one, and not that of this pool"


def test_every_published_strategy_gives_routes_of_the_ladder() -> None:
    rng = np.random.default_rng(5)
    known = Scores({"0.5B": rng.random(200), "1.5B": rng.random(200)})
    for name in NAMES:
        for route in set(get_strategy(name).routes(known, pool=EMBEDDED)):
            parsed = parse_route(route, EMBEDDED)
            assert str(parsed) == route
            assert all(a != b for a, b in pairwise(parsed.tiers))


def test_what_a_strategy_needs_is_named_as_the_pool_names_it() -> None:
    assert get_strategy("cascade").needed(EMBEDDED) == ("0.5B", "1.5B")
    assert get_strategy("cascade").needed(POOL) == ("1.5B", "7B")
    with pytest.raises(
        StrategyError, match=r"needs scores of 1\.5B; there are scores of 0\.5B: add the column score_1\.5B"
    ):
        get_strategy("cascade").routes(Scores({"0.5B": [0.5]}), pool=EMBEDDED)
    one = EMBEDDED.model_copy(update={"ladder": ("1.5B", "1.5B", "1.5B")})
    assert get_strategy("cascade").needed(one) == ("1.5B",)
    poor = Scores({"0.5B": [0.5]}, refused={"1.5B": "AUROC 0.5"})
    assert get_strategy("cascade").choose(poor, pool=EMBEDDED).notes == (
        "scores of 1.5B are refused (AUROC 0.5): mv_cascade_0.5B_k5_t0.7_1.5B_k3_t0.7 instead of the strategy cascade",
    )


def test_a_strategy_of_ones_own_has_the_aliases_of_the_pool() -> None:
    own = Strategy(
        "own", lambda inputs: ["1.5B" if p < 0.5 else "0.5B" for p in inputs.scores["1.5B"]], needs=("1.5B",)
    )
    known = Scores({"1.5B": [0.2, 0.9]})
    assert own.routes(known, pool=EMBEDDED).tolist() == [EMBEDDED["1.5B"].name, EMBEDDED["0.5B"].name]


def test_costs_on_a_ladder_are_those_of_its_models() -> None:
    seen: list[dict[str, float]] = []
    spy = Strategy("spy", lambda inputs: seen.append(dict(inputs.costs)) or ["7B"], ladder=LADDER)
    free = {"models": tuple(m.model_copy(update={"price": None}) for m in EMBEDDED.models)}
    own = {"models": tuple(m.model_copy(update={"cost": c}) for m, c in zip(EMBEDDED.models, (2.0, 8.0), strict=True))}
    for pool, costs in (
        (EMBEDDED, None),
        (EMBEDDED.model_copy(update=own), None),
        (EMBEDDED.model_copy(update=free), None),
    ):
        spy.routes(Scores(ids=[1]), pool=pool, costs=costs)
    spy.routes(Scores(ids=[1]), pool=EMBEDDED, costs={"0.5B": 1, "1.5B": 7})
    assert [tuple(each.values()) for each in seen] == [(1, 3.125, 3.125), (1, 4, 4), (1, 2, 9), (1, 7, 7)]


@pytest.mark.parametrize(
    ("ladder", "said"),
    [
        ('["0.5B", "1.5B"]', r"ladder\.2: missing"),
        ('["0.5B", "1.5B", "7B"]', "ladder: unknown model '7B'"),
        ('["a", "b", "c", "d"]', "at most 3"),
    ],
)
def test_a_ladder_is_three_aliases_of_the_pool(tmp_path: Path, ladder: str, said: str) -> None:
    file = tmp_path / "p.toml"
    models = "".join(f'[[models]]\nalias = "{alias}"\nname = "m/{alias}"\n' for alias in ("0.5B", "1.5B"))
    file.write_text(f"ladder = {ladder}\n{models}")
    with pytest.raises(PoolError, match=said):
        load_pool(file)


def test_a_ladder_goes_upwards() -> None:
    wrong = EMBEDDED.model_copy(update={"ladder": ("1.5B", "0.5B", "1.5B")})
    with pytest.raises(PoolError, match=r"1\.5B is dearer than 0\.5B; write the cheapest first"):
        get_strategy("random").routes(Scores(ids=[1]), pool=wrong)
