"""Turns on a shared device."""

from escalade.pool import Pool
from escalade.testing import pool_of
from escalade.turns import Turns


def placed(**devices: str | None) -> Pool:
    """Models by alias, in this order, each with the device it names."""
    models = pool_of(*devices).models
    each = tuple(model.model_copy(update={"gpu": devices[model.alias]}) for model in models)
    return Pool.model_validate({"name": "test", "models": each})


def turns(**devices: str | None) -> Turns:
    return Turns(placed(**devices))


def may(order: Turns, aliases: str) -> str:
    return "".join(alias for alias in aliases if order.has(alias))


def test_models_without_a_device_have_one_each() -> None:
    order = turns(S=None, M=None, L="0")
    assert not order.shared
    assert may(order, "SML") == "SML"
    assert order.pass_on(set()) == []


def test_the_first_of_the_pool_begins_and_has_it_until_it_has_nothing_to_do() -> None:
    order = turns(S="0", M="0", L="0")
    assert order.shared
    assert may(order, "SML") == "S"
    assert order.pass_on({"S", "M", "L"}) == []
    assert order.pass_on({"M", "L"}) == ["S"]
    assert may(order, "SML") == "M"
    assert order.pass_on({"S", "M"}) == []
    assert order.pass_on({"S"}) == ["M"]  # around to the first again
    assert may(order, "SML") == "S"


def test_a_model_that_nobody_needs_is_passed_over() -> None:
    order = turns(S="0", M="0", L="0")
    assert order.pass_on({"L"}) == ["S"]
    assert may(order, "SML") == "L"


def test_with_nobody_to_pass_it_to_it_stays() -> None:
    order = turns(S="0", L="0")
    assert order.pass_on(set()) == []
    assert may(order, "SL") == "S"


def test_devices_do_not_wait_for_each_other() -> None:
    order = turns(A="0", X="1", B="0", Y="1", free=None)
    assert [alias for alias in ("A", "X", "B", "Y", "free") if order.has(alias)] == ["A", "X", "free"]
    assert order.pass_on({"B", "X", "free"}) == ["A"]
    assert order.pass_on({"B", "Y"}) == ["X"]
    assert order.has("B")
    assert order.has("Y")


def test_with_patience_a_model_that_never_ends_lets_the_device_go() -> None:
    clock = [0.0]
    order = Turns(placed(S="0", L="0"), patience=5.0, now=lambda: clock[0])
    everybody = {"S", "L"}
    assert order.pass_on(everybody, {"S"}) == []
    clock[0] = 4.9
    assert order.pass_on(everybody, {"S"}) == []
    assert may(order, "SL") == "S"
    clock[0] = 5.0
    assert order.pass_on(everybody, {"S"}) == []
    assert may(order, "SL") == "", "what is running ends, nothing more is sent"
    assert order.pass_on(everybody, set()) == ["S"]
    assert may(order, "SL") == "L"
    clock[0] = 9.0
    assert order.pass_on(everybody, {"L"}) == []
    assert may(order, "SL") == "L", "each has its time"


def test_with_patience_nobody_lets_go_for_nobody() -> None:
    clock = [0.0]
    order = Turns(placed(S="0", L="0"), patience=5.0, now=lambda: clock[0])
    for second in range(20):
        clock[0] = second
        assert order.pass_on({"S"}, {"S"}) == []
        assert may(order, "SL") == "S"
