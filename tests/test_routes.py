import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from escalade.errors import RouteError
from escalade.pool import Pool, PoolModel, load_pool
from escalade.routes import Kind, Route, Tier, executed, is_cascade_marker, parse_route
from escalade.testing import pool_of

QWEN = load_pool("qwen2.5-math")
ODD = pool_of("k4", "t0.7", "c4ai", "claude", "mv", "1.5B", "7B", "a-b+c.d")


def refused(text: str, offending: str, expected: str, pool: Pool = QWEN) -> RouteError:
    """The string is refused at the last place of the offending text (at the end if empty), with a caret below it."""
    with pytest.raises(RouteError) as caught:
        parse_route(text, pool)
    error = caught.value
    position = text.rindex(offending)
    assert (error.position, error.offending) == (position, offending), str(error)
    assert expected in error.expected, str(error)
    first, shown, caret = str(error).split("\n")
    assert shown == "  " + text and caret == "  " + " " * position + "^"
    assert f"position {position}" in first and expected in first
    return error


# -- the grammar ----------------------------------------------------------------------------------------------


def test_the_routes_of_the_design() -> None:
    route = parse_route("mv_cascade_1.5B_k4_t0.7_7B_k4_t0.7_72B_k1_t0.0")
    assert route == Route(Kind.CASCADE, (Tier("1.5B", 4, 0.7), Tier("7B", 4, 0.7), Tier("72B", 1, 0.0)))
    route = parse_route("mv_entropy_cascade_1.5B_k4_t0.7_72B_k1_t0.0")
    assert route.kind is Kind.ENTROPY_CASCADE and route.is_cascade and len(route.tiers) == 2
    assert parse_route("mv_1.5B_k8_t0.7") == Route(Kind.VOTE, (Tier("1.5B", 8, 0.7),))
    plain = parse_route("Qwen/Qwen2.5-Math-7B-Instruct")
    assert plain == parse_route("7B") == Route(Kind.GREEDY, (Tier("7B", 1, 0.0),), "Qwen/Qwen2.5-Math-7B-Instruct")
    assert not plain.is_cascade and not parse_route("mv_1.5B_k8_t0.7").is_cascade


def test_a_tier_may_have_a_threshold_of_its_own() -> None:
    route = parse_route("mv_cascade_1.5B_k4_t0.7_c0.75_7B_k4_t0.7_72B_k1_t0.0_c1")
    assert [tier.threshold for tier in route.tiers] == [0.75, None, 1.0]
    assert str(route) == "mv_cascade_1.5B_k4_t0.7_c0.75_7B_k4_t0.7_72B_k1_t0.0_c1.0"
    assert parse_route("mv_7B_k4_t0.7_c0.5").tiers[0].threshold == 0.5


@pytest.mark.parametrize("c", ["c0", "c0.0", "c1.01", "c-1", "c.5", "c0.5.1", "c1e-1", "c", "c5", "c0.", "c+1", "c٠.٥"])
def test_a_threshold_is_a_decimal_up_to_one(c: str) -> None:
    expected = "a model alias" if c == "c٠.٥" else "the threshold of 7B, as in c0.8 (a decimal in (0, 1])"
    refused(f"mv_cascade_7B_k4_t0.7_{c}_72B_k1_t0.0", c, expected)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("mv_7B_k8_t0", "mv_7B_k8_t0.0"),
        ("mv_7B_k8_t0.00", "mv_7B_k8_t0.0"),
        ("mv_7B_k08_t00.70", "mv_7B_k8_t0.7"),
        ("mv_7B_k8_t1", "mv_7B_k8_t1.0"),
        ("mv_7B_k8_t0.0000001", "mv_7B_k8_t0.0000001"),
        ("mv_7B_k8_t100000000000000000000000", "mv_7B_k8_t100000000000000000000000.0"),
        ("mv_7B_k999999999999999999_t0.7", "mv_7B_k999999999999999999_t0.7"),
        ("mv_cascade_7B_k1_t0.7_c1", "mv_cascade_7B_k1_t0.7_c1.0"),
        ("7B", "Qwen/Qwen2.5-Math-7B-Instruct"),
    ],
)
def test_canonical_forms(text: str, canonical: str) -> None:
    assert str(parse_route(text)) == canonical
    assert str(parse_route(canonical)) == canonical


def test_t0_is_one_value_however_written() -> None:
    routes = {parse_route(f"mv_7B_k8_{t}") for t in ("t0", "t0.0", "t0.00", "t00")}
    assert len(routes) == 1


TIERS = st.builds(
    Tier,
    st.sampled_from(ODD.aliases),
    st.integers(1, 10**18 - 1),
    st.floats(0, allow_infinity=False, allow_nan=False),
    st.none() | st.floats(0, 1, exclude_min=True),
)
ROUTES = st.one_of(
    st.sampled_from(ODD.models).map(lambda m: Route(Kind.GREEDY, (Tier(m.alias, 1, 0.0),), m.name)),
    st.builds(Route, st.just(Kind.VOTE), st.tuples(TIERS)),
    st.builds(
        Route,
        st.sampled_from([Kind.CASCADE, Kind.ENTROPY_CASCADE]),
        st.lists(TIERS, min_size=1, max_size=4).map(tuple),
    ),
)


@given(ROUTES)
def test_what_is_written_is_read(route: Route) -> None:
    assert parse_route(str(route), ODD) == route
    assert str(parse_route(str(route), ODD)) == str(route)


@given(ROUTES, st.data())
def test_a_changed_string_is_understood_or_refused(route: Route, data: st.DataObject) -> None:
    text = str(route)
    at = data.draw(st.integers(0, len(text)))
    cut = data.draw(st.integers(0, 3))
    patch = data.draw(st.text("_kctmv.0179B-+e \n٣", max_size=4))
    changed = text[:at] + patch + text[at + cut :]
    try:
        read = parse_route(changed, ODD)
    except RouteError as error:
        assert changed[error.position :].startswith(error.offending) and 0 <= error.position <= len(changed)
    else:
        assert parse_route(str(read), ODD) == read


@given(st.text(max_size=30) | st.text(string.printable, max_size=30).map("mv_cascade_".__add__))
def test_any_text_is_understood_or_refused(text: str) -> None:
    try:
        parse_route(text)
    except RouteError as error:
        assert text[error.position :].startswith(error.offending) and 0 <= error.position <= len(text)
        assert error.route == text and len(str(error).split("\n")) == 3


@pytest.mark.parametrize("value", [None, 7, 0.5, float("nan"), b"7B", ["7B"]])
def test_what_is_no_text_is_refused(value: object) -> None:
    with pytest.raises(RouteError, match="expected a routing string"):
        parse_route(value)  # type: ignore[arg-type]


@pytest.mark.parametrize("alias", ODD.aliases)
def test_aliases_that_look_like_other_words_are_aliases_where_one_is_wanted(alias: str) -> None:
    route = parse_route(f"mv_cascade_{alias}_k4_t0.7_{alias}_k2_t1_c0.5_{alias}_k1_t0", ODD)
    assert [(t.model, t.k, t.threshold) for t in route.tiers] == [(alias, 4, None), (alias, 2, 0.5), (alias, 1, None)]
    assert parse_route(alias, ODD).tiers[0].model == alias


# -- refusals -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "offending", "expected"),
    [
        ("", "", "a routing string"),
        ("mv_", "", "a model alias"),
        ("mv_cascade_", "", "a model alias"),
        ("mv_entropy_cascade_", "", "a model alias"),
        ("mv_7B", "", "the number of samples of 7B, as in k4"),
        ("mv_7B_k4", "", "the temperature of 7B, as in t0.7"),
        ("mv_7B_k4_", "", "the temperature of 7B"),
        ("mv_7B_k4_t0.7_", "_", "the end: a vote has one tier"),
        ("mv_7B_k4_t0.7_7B_k4_t0.7", "_7B_k4_t0.7", "the end: a vote has one tier"),
        ("mv_cascade_7B_k4_t0.7_", "", "a model alias"),
        ("mv_cascade_7B_k4_t0.7_c0.5_c0.6", "c0.6", "a model of pool"),
        ("mv_cascade_7B_t0.7_k4", "t0.7", "the number of samples of 7B"),
        ("mv_cascade_7b_k4_t0.7", "7b", "a model of pool 'qwen2.5-math' (1.5B, 7B, 72B; did you mean '7B'?)"),
        ("mv_cascade__7B_k4_t0.7", "_7B_k4_t0.7", "a model alias"),
        ("mv_cascade_7B_K4_t0.7", "K4", "the number of samples"),
        ("mv_cascade_7B_k4.0_t0.7", "k4.0", "the number of samples"),
        ("mv_cascade_7B_k4_t0.7 ", "t0.7 ", "the temperature"),
        (" 7B", " 7B", "a routing string"),
        ("7B ", "7B ", "a routing string"),
        ("MV_7B_k4_t0.7", "MV_7B_k4_t0.7", "a routing string"),
        ("mv_Qwen/Qwen2.5-Math-7B-Instruct_k4_t0.7", "Qwen/Qwen2.5-Math-7B-Instruct", "a model alias"),
    ],
)
def test_refusals_have_position_offence_and_expectation(text: str, offending: str, expected: str) -> None:
    if offending == "_7B_k4_t0.7" and text.startswith("mv_cascade__"):
        with pytest.raises(RouteError) as caught:
            parse_route(text)
        assert (caught.value.position, caught.value.offending, caught.value.expected) == (11, "", expected)
        return
    refused(text, offending, expected) if offending else _refused_at_the_end(text, expected)


def _refused_at_the_end(text: str, expected: str) -> None:
    with pytest.raises(RouteError) as caught:
        parse_route(text)
    assert (caught.value.position, caught.value.offending) == (len(text), "")
    assert expected in caught.value.expected and "found the end" in str(caught.value)
    assert str(caught.value).endswith("\n  " + " " * len(text) + "^")


@pytest.mark.parametrize(
    "text", ["mv_7B_k4_t0.7\n", "mv_7B_k4\x1b[31m_t0.7", "mv_7B\t_k4_t0.7", "mv_cascade_7B\x00_k4_t0.7"]
)
def test_control_characters_neither_pass_nor_move_the_caret(text: str) -> None:
    with pytest.raises(RouteError) as caught:
        parse_route(text)
    _, shown, caret = str(caught.value).split("\n")
    assert shown.isprintable() and shown == "  " + repr(text)[1:-1]
    assert shown[caret.index("^") :] == repr(text[caught.value.position :])[1:-1]


@pytest.mark.parametrize(
    "text", ["mv_7B_k٤_t0.7", "mv_7B_k4_t٠.٧", "mv_7B_k4_t0.7_c٠", "mv_７B_k4_t0.7", "mv_7B_k²_t0.7"]
)
def test_digits_of_other_scripts_are_no_digits(text: str) -> None:
    with pytest.raises(RouteError):
        parse_route(text)


def test_numbers_no_machine_holds_are_refused() -> None:
    refused("mv_7B_k" + "9" * 5000 + "_t0.7", "k" + "9" * 5000, "the number of samples")
    refused("mv_7B_k4_t" + "9" * 400, "t" + "9" * 400, "the temperature of 7B")
    tiny = "t0." + "0" * 400 + "1"
    refused(f"mv_7B_k4_{tiny}", tiny, "the temperature of 7B")


# -- the traps ------------------------------------------------------------------------------------------------


def test_P1_an_unknown_tier_is_refused_with_the_known_aliases() -> None:
    error = refused(
        "mv_cascade_1.5B_k4_t0.7_14B_k4_t0.7_72B_k1_t0.0", "14B", "a model of pool 'qwen2.5-math' (1.5B, 7B, 72B"
    )
    assert error.position == 24
    # One that begins like a threshold, too.
    refused("mv_cascade_1.5B_k4_t0.7_claude_k4_t0.7", "claude", "(1.5B, 7B, 72B")


def test_P2_a_tier_without_temperature_is_refused() -> None:
    text = "mv_cascade_1.5B_k4_7B_k4_t0.7"
    with pytest.raises(RouteError) as caught:
        parse_route(text)
    assert (caught.value.position, caught.value.offending) == (text.index("7B"), "7B")
    assert "the temperature of 1.5B" in caught.value.expected


@pytest.mark.parametrize("model", ["17B", "1.7B", "0.5B", "172B", "27B"])
def test_P3_a_model_is_not_guessed_from_a_part_of_its_name(model: str) -> None:
    refused(f"mv_{model}_k8_t0.7", model, "a model of pool")
    refused(f"mv_cascade_{model}_k8_t0.7_72B_k1_t0.0", model, "a model of pool")
    assert "unknown model" in refused(model, model, "a routing string").expected


@pytest.mark.parametrize(
    "tail", ["k4_t1e-1", "k4_t-0.7", "k-4_t0.7", "k0_t0.7", "k4_t0.7.1", "k4_t.7", "k4_t7.", "k00_t1"]
)
def test_P4_numbers_have_one_form(tail: str) -> None:
    k, t = tail.split("_")
    offending = t if k == "k4" else k
    expected = "the temperature of 7B" if k == "k4" else "the number of samples of 7B"
    refused(f"mv_7B_{tail}", offending, expected)
    refused(f"mv_cascade_1.5B_k4_t0.7_7B_{tail}", offending, expected)


def test_P5_the_entropy_rule_is_a_kind_of_its_own() -> None:
    tail = "cascade_7B_k4_t0.7_72B_k1_t0.0"
    plain, entropy = parse_route(f"mv_{tail}"), parse_route(f"mv_entropy_{tail}")
    assert plain != entropy and plain.tiers == entropy.tiers and entropy.kind is Kind.ENTROPY_CASCADE


def test_P6_an_entropy_vote_is_refused() -> None:
    refused("mv_entropy_1.5B_k4_t0.7", "1.5B_k4_t0.7", 'a cascade ("cascade_") after "mv_entropy_"')


def test_P7_names_with_markers_in_them_are_plain() -> None:
    names = ("acme/llm_mv_v2", "my_mv_cascade_model", "x_mv_entropy_cascade_7B_k4_t0.7")
    pool = Pool(name="p", models=tuple(PoolModel(alias=f"m{i}", name=name) for i, name in enumerate(names)))
    for i, name in enumerate(names):
        assert parse_route(name, pool) == Route(Kind.GREEDY, (Tier(f"m{i}", 1, 0.0),), name)
        assert not is_cascade_marker(name)
        assert "unknown model" in refused(name, name, "a routing string").expected
    assert is_cascade_marker("mv_cascade_") and is_cascade_marker("mv_entropy_cascade_nonsense")
    assert not is_cascade_marker("mv_7B_k4_t0.7") and not is_cascade_marker("mv_cascade")


@pytest.mark.parametrize("tail", ["x", "_x", "-", "_and_more", "_k4", ".", "_t0.7"])
def test_P8_nothing_behind_a_tier_is_ignored(tail: str) -> None:
    for text in ("mv_cascade_7B_k4_t0.7_72B_k1_t0.0", "mv_7B_k8_t0.7", "mv_entropy_cascade_7B_k4_t0.7"):
        assert str(parse_route(text)) == text
        with pytest.raises(RouteError) as caught:
            parse_route(text + tail)
        assert caught.value.position + len(caught.value.offending) == len(text + tail) or tail in ("_and_more",)


def test_P9_greedy_only_is_one_rule_in_votes_and_tiers() -> None:
    said = "72B is greedy only in this pool: k=8 t=0.7 runs as k=1 t=0.0"
    for text in ("mv_72B_k8_t0.7", "mv_cascade_7B_k4_t0.7_72B_k8_t0.7", "mv_entropy_cascade_72B_k8_t0.7_7B_k4_t0.7"):
        ran = executed(parse_route(text), QWEN)
        assert ran.notes == (said,)
        assert [t for t in ran.route.tiers if t.model == "72B"] == [Tier("72B", 1, 0.0)]
    twice = executed(parse_route("mv_cascade_72B_k8_t0.7_72B_k8_t0.7"), QWEN)
    assert twice.notes == (said,)
    warm = executed(parse_route("mv_72B_k1_t0.7_c0.5"), QWEN)
    assert warm.route.tiers == (Tier("72B", 1, 0.0, 0.5),) and "k=1 t=0.7 runs as k=1 t=0.0" in warm.notes[0]
    for text in ("72B", "mv_72B_k1_t0.0", "mv_cascade_7B_k4_t0.7_72B_k1_t0.0"):
        route = parse_route(text)
        assert executed(route, QWEN) == (route, ())


def test_P9_a_pool_may_lift_it() -> None:
    lifted = tuple(m.model_copy(update={"greedy_only": False}) for m in QWEN.models)
    pool = QWEN.model_copy(update={"models": lifted})
    for text in ("mv_72B_k8_t0.7", "mv_cascade_7B_k4_t0.7_72B_k8_t0.7"):
        route = parse_route(text, pool)
        assert executed(route, pool) == (route, ())


def test_what_has_no_effect_is_said() -> None:
    notes = executed(parse_route("mv_cascade_7B_k4_t0.0_72B_k1_t0.0"), QWEN).notes
    assert notes == ("7B k=4 t=0.0: greedy samples are alike, so that their agreement says little",)
    notes = executed(parse_route("mv_entropy_cascade_7B_k4_t0.7_c0.8_72B_k1_t0.0"), QWEN).notes
    assert notes == ("7B: the entropy rule has a threshold in bits; its own plays no part",)
    for text in ("mv_7B_k4_t0.7_c0.8", "mv_cascade_1.5B_k4_t0.7_7B_k4_t0.7_c0.8"):
        notes = executed(parse_route(text), QWEN).notes
        assert notes == ("7B: the last tier answers whatever its confidence; its threshold plays no part",)


def test_where_answers_cannot_agree_each_tier_draws_one_sample() -> None:
    pool = load_pool("qwen2.5-math")
    route = parse_route("mv_cascade_1.5B_k4_t0.7_7B_k1_t0.0_72B_k8_t0.7", pool)
    ran = executed(route, pool, votes=False)
    assert str(ran.route) == "mv_cascade_1.5B_k1_t0.7_7B_k1_t0.0_72B_k1_t0.0"
    assert "1.5B: free text has no vote: k=4 runs as k=1" in ran.notes
    free = pool.model_copy(update={"answer_kind": "free"})
    assert executed(route, free) == ran
    assert executed(route, free, votes=True) == executed(route, pool)
