"""The menu: what a model's name means, what a request may want of it besides, and the most that it can cost."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from escalade import load_pool
from escalade.errors import RequestError, SettingError
from escalade.gateway.bodies import asked_in, read_chat
from escalade.gateway.menu import Menu, Plan, Scorer
from escalade.policies import KeptPolicy, PolicyFile, read_policy
from escalade.pool import Pool
from escalade.problems import Problem, Scoring
from escalade.testing import pool_of

PROBLEM = "What is 1 + 1?"
SMALL = pool_of("S", "L", prices=["1", "10"], max_tokens=20)
MATH = load_pool("qwen2.5-math")
EMBEDDED = load_pool("embedded")
FALLBACK = "mv_cascade_1.5B_k4_t0.7_7B_k4_t0.7_72B_k1_t0.0"


@dataclass
class Desk:
    """Asks a menu."""

    menu: Menu

    def plan(self, model: str, problem: str = PROBLEM, *, before: Any = (), ident: str = "r1", **fields: Any) -> Plan:
        messages = [*before, {"role": "user", "content": problem}]
        body = read_chat(json.dumps({"model": model, "messages": messages, **fields}).encode())
        return self.menu.plan(body, asked_in(body), ident)

    def route(self, model: str, **fields: Any) -> str:
        return str(self.plan(model, **fields).route)

    def refused(self, model: str, **fields: Any) -> RequestError:
        with pytest.raises(RequestError) as caught:
            self.plan(model, **fields)
        return caught.value


def scores(**given: float) -> dict[str, Any]:
    return {"escalade": {"scores": {name.replace("_", "."): value for name, value in given.items()}}}


def of(pool: Pool, *policies: KeptPolicy, **settings: Any) -> Desk:
    return Desk(Menu(pool, policies, **settings))


def kept(folder: Path, name: str, route: str, **more: Any) -> KeptPolicy:
    path = folder / f"{len(list(folder.iterdir()))}.toml"
    PolicyFile.model_validate({"name": name, "route": route, **more}).write(path)
    return read_policy(path)


def scorer(
    given: Mapping[str, float],
    *,
    refused: Mapping[str, str] | None = None,
    usd: str = "0",
    seen: list[str] | None = None,
) -> Scorer:
    def scored(problem: Problem) -> tuple[Mapping[str, float], Mapping[str, Scoring], Mapping[str, str]]:
        if seen is not None:
            seen.append(problem.text)
        return given, dict.fromkeys(given, Scoring(usd=Decimal(usd))), refused or {}

    return scored


# -- names ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pool", "name", "route"),
    [
        (SMALL, "S", "test/S"),
        (SMALL, "test/L", "test/L"),
        (MATH, "7B", "Qwen/Qwen2.5-Math-7B-Instruct"),
        (MATH, "Qwen/Qwen2.5-Math-7B-Instruct", "Qwen/Qwen2.5-Math-7B-Instruct"),
        (SMALL, "mv_S_k4_t0.70", "mv_S_k4_t0.7"),
        (MATH, "mv_entropy_cascade_1.5B_k4_t0.7_72B_k1_t0", "mv_entropy_cascade_1.5B_k4_t0.7_72B_k1_t0.0"),
        (EMBEDDED, "auto", "mv_cascade_0.5B_k5_t0.7_1.5B_k3_t0.7"),
    ],
)
def test_a_name_means_a_route(pool: Pool, name: str, route: str) -> None:
    plan = of(pool).plan(name)
    assert (str(plan.route), plan.dish, plan.task.own.choices) == (route, None, 1)
    assert (plan.task.problem.id, plan.task.problem.text) == ("r1", PROBLEM)


def test_names_are_listed() -> None:
    names = of(EMBEDDED).menu.names
    models = ["0.5B", "Qwen/Qwen2.5-Coder-0.5B-Instruct", "1.5B", "Qwen/Qwen2.5-Coder-1.5B-Instruct"]
    assert names[:5] == ["auto", *models]
    assert "auto:cascade" in names
    assert of(SMALL).menu.names == ["S", "test/S", "L", "test/L"]  # no route, and no ladder for strategies
    assert "auto" not in of(MATH).menu.names


@pytest.mark.parametrize("pool", [SMALL, MATH, EMBEDDED], ids=lambda pool: pool.name)
def test_every_name_that_is_listed_is_served(pool: Pool) -> None:
    desk = of(pool)
    given = dict.fromkeys(pool.aliases, 0.5)
    for name in desk.menu.names:
        assert desk.plan(name, escalade={"scores": given}).route.tiers


@pytest.mark.parametrize(
    ("pool", "name", "words"),
    [
        (SMALL, "gpt-4", ["no model 'gpt-4'", "GET /v1/models", "S, L"]),
        (MATH, "7b", ["no model '7b'", "did you mean '7B'?"]),
        (SMALL, "test/s", ["did you mean 'test/S'?"]),
        (EMBEDDED, "auto:cascad", ["did you mean 'auto:cascade'?"]),
        (EMBEDDED, "auto:nonsense", ["'nonsense'"]),
        (SMALL, "auto:cascade", ["'cascade' chooses between 1.5B, 7B, 72B", "S, L", "ladder"]),
    ],
)
def test_an_unknown_name_is_not_found_and_the_nearest_is_said(pool: Pool, name: str, words: list[str]) -> None:
    error = of(pool).refused(name)
    assert (error.status, error.code, error.param) == (404, "model_not_found", "model")
    for word in words:
        assert word in str(error)


def test_a_pool_without_a_route_has_no_auto() -> None:
    error = of(MATH).refused("auto")
    assert "pool 'qwen2.5-math' names no route of its own: name a model or a route" in str(error)


@pytest.mark.parametrize(
    ("route", "position", "found"),
    [("mv_S_k4", 7, "the end"), ("mv_X_k4_t0.7", 3, "'X'"), ("mv_cascade_S_k4_t0.7_L_k0_t0.0", 23, "'k0'")],
)
def test_a_routing_string_with_a_mistake_keeps_its_position_and_caret(route: str, position: int, found: str) -> None:
    error = of(SMALL).refused(route)
    assert (error.status, error.param) == (400, "model")
    first, text, caret = str(error).splitlines()
    assert f"at position {position}" in first
    assert f"found {found}" in first
    assert (text, caret) == (f"  {route}", f"  {' ' * position}^")


# -- temperature, top_p, n, seed ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("temperature", "route"), [(0, "test/S"), (0.7, "mv_S_k1_t0.7"), (1, "mv_S_k1_t1.0"), (2.0, "mv_S_k1_t2.0")]
)
def test_the_temperature_of_a_single_model_is_honoured(temperature: float, route: str) -> None:
    assert of(SMALL).route("S", temperature=temperature) == route


def test_the_temperature_of_a_vote_is_its_own() -> None:
    desk = of(SMALL)
    assert desk.route("mv_S_k4_t0.7", temperature=0.7) == "mv_S_k4_t0.7"
    for route in ("mv_S_k4_t0.7", "mv_cascade_S_k4_t0.7_L_k1_t0.0"):
        error = desk.refused(route, temperature=0.5)
        assert error.param == "temperature"
        for word in ("0.5", route, "leave it out"):
            assert word in str(error)


def test_a_model_that_is_greedy_only_has_neither_temperature_nor_choices() -> None:
    desk = of(MATH)
    assert desk.route("72B", temperature=0) == "Qwen/Qwen2.5-Math-72B-Instruct"
    for fields in ({"temperature": 0.7}, {"n": 2}):
        error = desk.refused("72B", **fields)
        assert error.param == next(iter(fields))
        assert "72B is greedy only in this pool" in str(error)


def test_top_p_is_the_pools() -> None:
    nine = pool_of("S")
    nine = nine.model_copy(update={"models": (nine["S"].model_copy(update={"top_p": 0.9}),)})
    assert of(SMALL).route("S", top_p=1) == "test/S"
    assert of(nine).route("mv_S_k4_t0.7", top_p=0.9) == "mv_S_k4_t0.7"
    for desk, given, mine in ((of(SMALL), 0.9, "1"), (of(nine), 1, "0.9")):
        error = desk.refused("S", top_p=given)
        assert error.param == "top_p"
        assert f"top_p is {given:g}, and the pool asks S with {mine}: leave it out" in str(error)


@pytest.mark.parametrize(
    ("fields", "route"), [({"n": 3}, "mv_S_k3_t0.0"), ({"n": 64, "temperature": 0.7}, "mv_S_k64_t0.7")]
)
def test_choices_of_a_single_model_are_samples_none_of_which_is_left_out(fields: dict[str, Any], route: str) -> None:
    plan = of(SMALL).plan("S", **fields)
    assert (str(plan.route), plan.task.own.choices) == (route, fields["n"])
    assert plan.task.own.policy is not None
    assert plan.task.own.policy.stop == "none"


@pytest.mark.parametrize("route", ["mv_S_k4_t0.7", "mv_cascade_S_k1_t0.7_L_k1_t0.0"])
def test_a_route_that_decides_on_one_answer_has_no_choices(route: str) -> None:
    desk = of(SMALL)
    assert desk.route(route, n=1) == route
    error = desk.refused(route, n=2)
    assert error.param == "n"
    assert f"n is 2, and {route} decides on one answer" in str(error)


def test_what_else_a_request_says_goes_with_its_task() -> None:
    extra = {"budget_usd": "0.25", "deadline": 3, "latency_target": 1.5, "target": 0.75, "answer_kind": "number"}
    plan = of(SMALL, seed=7).plan("mv_S_k4_t0.7", stop=["a", "b"], max_tokens=9, seed=42, escalade=extra)
    own = plan.task.own
    assert (own.seed, own.max_tokens, own.stop, own.latency) == (42, 9, ("a", "b"), 1.5)
    assert own.limits is not None
    assert (own.limits.problem_usd, own.limits.problem_seconds) == (Decimal("0.25"), 3)
    assert own.policy is not None
    assert own.policy.target == 0.75
    assert plan.task.problem.answer_kind == "number"


def test_what_a_request_leaves_out_is_the_servers() -> None:
    own = of(SMALL, seed=7, target=0.6).plan("mv_S_k4_t0.7").task.own
    assert own.policy is not None
    assert (own.seed, own.policy.target, own.max_tokens, own.stop, own.latency) == (7, 0.6, None, (), None)


@pytest.mark.parametrize("kind", ["nonsense", "", "path/to/file.py:Kind", "choice:"])
def test_an_answer_kind_that_is_none_is_refused(kind: str) -> None:
    error = of(SMALL).refused("S", escalade={"answer_kind": kind})
    assert (error.status, error.param) == (400, "escalade.answer_kind")
    assert "answer" in str(error)


# -- scores and strategies ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("small", "middle", "model"), [(0.95, 0.5, "1.5B"), (0.5, 0.95, "7B"), (0.5, 0.5, "72B"), (0.9, 0.9, "1.5B")]
)
def test_a_strategy_chooses_by_the_scores_of_the_request(small: float, middle: float, model: str) -> None:
    plan = of(MATH).plan("auto:cascade", **scores(**{"1_5B": small, "7B": middle}))
    assert [tier.model for tier in plan.route.tiers] == [model]
    assert plan.task.problem.scores == {"1.5B": small, "7B": middle}


def test_a_strategy_chooses_by_the_target_of_the_request() -> None:
    given = {"scores": {"1.5B": 0.7, "7B": 0.8}}
    models = [
        of(MATH).plan("auto:cascade", escalade={**given, "target": target}).route.tiers[0].model
        for target in (0.6, 0.75, 0.9)
    ]
    assert models == ["1.5B", "7B", "72B"]


def test_in_a_pool_with_a_ladder_its_models_stand_for_the_published_ones() -> None:
    plan = of(EMBEDDED).plan("auto:cascade", escalade={"scores": {"0.5B": 0.5, "1.5B": 0.95}})
    assert str(plan.route) == "Qwen/Qwen2.5-Coder-1.5B-Instruct"
    assert "0.5B, 1.5B, 1.5B of pool embedded stand for 1.5B, 7B, 72B" in plan.task.notes[0]


@pytest.mark.parametrize(
    ("pool", "name", "given", "missing"),
    [
        (MATH, "cascade", {}, "1.5B and 7B"),
        (MATH, "cascade", {"1.5B": 0.5}, "7B"),
        (MATH, "72b_robust", {}, "1.5B and 7B"),
        (MATH, "adaptive_k_sampling", {}, "1.5B"),
        (EMBEDDED, "cascade", {}, "0.5B and 1.5B"),
    ],
)
def test_a_strategy_without_its_scores_says_what_to_give(
    pool: Pool, name: str, given: dict[str, float], missing: str
) -> None:
    error = of(pool).refused(f"auto:{name}", escalade={"scores": given})
    assert (error.status, error.param) == (400, "escalade.scores")
    first = missing.split(" and ")[0]
    for word in (
        f"strategy {name!r} needs scores of {missing}",
        f'"escalade": {{"scores": {{"{first}": 0.7',
        "--probe",
    ):
        assert word in str(error)


def test_a_strategy_that_looks_at_no_scores_needs_none() -> None:
    assert of(MATH).route("auto:always_7B") == "Qwen/Qwen2.5-Math-7B-Instruct"
    assert of(MATH).route("auto:mv_always_1.5B") == "mv_1.5B_k8_t0.7"


def test_the_random_strategy_does_not_send_every_request_one_way() -> None:
    desk = of(MATH)
    routes = {desk.route("auto:random", problem=f"What is {i} + 1?", ident=f"r{i}", seed=i) for i in range(50)}
    assert len(routes) > 1


def test_a_problem_without_scores_is_scored_by_the_server() -> None:
    seen: list[str] = []
    desk = of(MATH, scorer=scorer({"1.5B": 0.5, "7B": 0.95}, usd="0.001", seen=seen))
    plan = desk.plan("auto:cascade")
    assert seen == [PROBLEM]
    assert str(plan.route) == "Qwen/Qwen2.5-Math-7B-Instruct"
    assert [(charge.alias, charge.cost.usd) for charge in plan.task.scoring] == [
        ("1.5B", Decimal("0.001")),
        ("7B", Decimal("0.001")),
    ]
    desk.plan("auto:cascade", **scores(**{"1_5B": 0.95, "7B": 0.5}))
    desk.plan("7B")
    assert seen == [PROBLEM]  # scores that were given, or that nothing looks at, cost nothing


@pytest.mark.parametrize(
    ("given", "refused"),
    [({}, {"1.5B": "AUROC 0.50", "7B": "AUROC 0.51"}), ({"1.5B": 0.95}, {"7B": "AUROC 0.51"})],
)
def test_refused_scores_decide_nothing_the_cascade_does_and_says_so(
    given: dict[str, float], refused: dict[str, str]
) -> None:
    plan = of(MATH, scorer=scorer(given, refused=refused)).plan("auto:cascade")
    assert str(plan.route) == FALLBACK
    notes = "\n".join(plan.task.notes)
    assert f"{FALLBACK} instead of the strategy cascade" in notes
    for alias, why in refused.items():
        assert f"scores of {alias} are refused ({why}): nothing is decided by them" in notes
    assert not plan.task.scoring


def test_scores_of_a_model_that_is_not_there_are_refused() -> None:
    for name in ("S", "mv_S_k4_t0.7"):
        error = of(SMALL).refused(name, **scores(M=0.5))
        assert error.param == "escalade.scores.M"
        assert "unknown model 'M': pool 'test' has S, L" in str(error)


def test_scores_by_a_models_full_name_are_its_scores_or_refused() -> None:
    given = {"escalade": {"scores": {"test/S": 0.5}}}
    try:
        plan = of(SMALL).plan("mv_cascade_S_k1_t0.7_L_k1_t0.0", **given)
    except RequestError as error:
        assert error.param == "escalade.scores.test/S"
    else:
        assert plan.task.problem.scores == {"S": 0.5}


# -- policies -------------------------------------------------------------------------------------------------


def test_a_policy_is_a_model(tmp_path: Path) -> None:
    route = "mv_cascade_S_k3_t0.7_c0.65_L_k1_t0.0"
    desk = of(SMALL, kept(tmp_path, "two tiers", route, settings={"target": 0.7, "stop": "none"}))
    assert desk.menu.names[-1] == "two tiers"
    plan = desk.plan("two tiers")
    assert str(plan.route) == route
    assert plan.dish is not None
    assert (plan.dish.name, plan.dish.certificate, plan.dish.mismatches) == ("two tiers", None, ())
    assert plan.task.own.policy is not None
    assert (plan.task.own.policy.target, plan.task.own.policy.stop) == (0.7, "none")
    assert "did you mean 'two tiers'?" in str(desk.refused("two tier"))


def test_a_policy_has_its_own_target(tmp_path: Path) -> None:
    error = of(SMALL, kept(tmp_path, "ours", "S")).refused("ours", escalade={"target": 0.5})
    assert error.param == "escalade.target"
    assert "policy 'ours' has its thresholds: leave target out, or name a route" in str(error)


def test_a_gate_chooses_by_a_score(tmp_path: Path) -> None:
    gate = {"score": "S", "at_least": 0.6, "route": "S"}
    policy = kept(tmp_path, "gated", "mv_S_k5_t0.7", gate=gate)
    desk = of(SMALL, policy)
    for given, route, sign in ((0.6, "test/S", ">="), (0.59, "mv_S_k5_t0.7", "<")):
        plan = desk.plan("gated", **scores(S=given))
        assert str(plan.route) == route
        assert plan.task.notes == (f"gate: score of S {given} {sign} 0.6",)
    error = desk.refused("gated")
    assert error.status == 400
    assert "looks at the score of S: give it in the request" in str(error)
    scored = of(SMALL, policy, scorer=scorer({"S": 0.75}, usd="0.002"))
    plan = scored.plan("gated")
    assert str(plan.route) == "test/S"
    assert [(charge.alias, charge.cost.usd) for charge in plan.task.scoring] == [("S", Decimal("0.002"))]


@pytest.mark.parametrize("name", ["S", "test/L", "auto", "auto:cascade", "mv_ours", "a" * 65, "a\nb", ""])
def test_a_policy_whose_name_means_something_else_or_nothing_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingError) as caught:
        of(SMALL, kept(tmp_path, name, "S"))
    for word in (str(tmp_path), "change `name` in the file"):
        assert word in str(caught.value)


def test_two_policies_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"two policies have the name 'ours': change `name` in .*1\.toml"):
        of(SMALL, kept(tmp_path, "ours", "S"), kept(tmp_path, "ours", "L"))


@pytest.mark.parametrize(
    "more", [{"route": "mv_M_k3_t0.7"}, {"route": "S", "gate": {"score": "M", "at_least": 0.5, "route": "S"}}]
)
def test_a_policy_that_does_not_fit_the_pool_is_refused(tmp_path: Path, more: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match=r"0\.toml does not fit pool 'test': .*M"):
        of(SMALL, kept(tmp_path, "ours", **more))


# -- the most that a request can cost -------------------------------------------------------------------------


def bound(*texts: str) -> int:
    return sum(len(text.encode()) + 16 for text in texts) + 64


def worst(model: str, pool: Pool = SMALL, **fields: Any) -> Decimal | None:
    desk = of(pool)
    return desk.menu.worst(desk.plan(model, **fields))


def test_the_worst_case_by_hand() -> None:
    prompt = bound(PROBLEM)
    small, large = (prompt + 20) * Decimal("1e-6"), (prompt + 20) * Decimal("10e-6")
    assert worst("S") == small
    assert worst("mv_S_k4_t0.7") == 4 * small
    assert worst("mv_cascade_S_k4_t0.7_L_k2_t0.7") == 4 * small + 2 * large
    assert worst("mv_entropy_cascade_S_k4_t0.7_L_k2_t0.7") == 8 * small + 2 * large  # it may explore up to 8
    assert worst("mv_entropy_cascade_S_k9_t0.7_L_k2_t0.7") == 9 * small + 2 * large
    assert worst("S", n=5) == 5 * small
    assert worst("mv_S_k4_t0.7", max_tokens=7) == 4 * (prompt + 7) * Decimal("1e-6")
    assert worst("mv_S_k4_t0.7", max_tokens=900) == 4 * small


def test_a_model_that_is_greedy_only_is_asked_once() -> None:
    assert worst("mv_72B_k8_t0.7", MATH) == worst("72B", MATH)


def test_without_a_price_the_worst_case_is_unknown() -> None:
    pool = pool_of("S", "L", prices=["1", None])
    assert worst("mv_cascade_S_k4_t0.7_L_k1_t0.0", pool) is None
    assert worst("mv_S_k4_t0.7", pool) is not None
    assert worst("S", pool_of("S", prices=["0"])) == 0


def test_the_conversation_is_in_the_worst_case() -> None:
    before = [{"role": "system", "content": "Seien Sie höflich."}, {"role": "assistant", "content": "Gut."}]
    expected = (bound("Seien Sie höflich.", "Gut.", PROBLEM) + 20) * Decimal("1e-6")
    assert worst("S", before=before) == expected


def test_what_scores_cost_is_in_the_worst_case() -> None:
    free = of(MATH, scorer=scorer({"1.5B": 0.95, "7B": 0.5}))
    paid = of(MATH, scorer=scorer({"1.5B": 0.95, "7B": 0.5}, usd="0.001"))
    least, most = (desk.menu.worst(desk.plan("auto:cascade")) for desk in (free, paid))
    assert least is not None
    assert most == least + Decimal("0.002")
