from dataclasses import dataclass

import pytest

from escalade.errors import SettingError
from escalade.pool import load_pool
from escalade.published.overrides import override

POOL = load_pool("qwen2.5-math")
SMALL = "Qwen/Qwen2.5-Math-1.5B-Instruct"


@dataclass
class RunCfg:
    slots: int = 4
    context: int = 512


def test_p17_a_price_of_0_is_a_price_and_models_are_named_either_way() -> None:
    pool = override(POOL, prices={SMALL: {"input": 0, "output": 0}, "7B": {"input": 1, "cached": 0.5, "output": 2}})
    assert pool["1.5B"].price is not None and pool["1.5B"].price.input == 0
    assert pool["7B"].price is not None and str(pool["7B"].price.cached) == "0.5"
    assert pool[SMALL] is pool["1.5B"] and POOL["1.5B"].price != pool["1.5B"].price


def test_the_published_catalogue_of_prices_is_read_and_may_have_other_models() -> None:
    costs = {"model_costs": {"input_per_mill": 0.3, "output_per_mill": 0.4}, "api_key": "x"}
    pool = override(POOL, prices={SMALL: costs, "mistralai/Ministral": costs})
    assert pool["1.5B"].price is not None and str(pool["1.5B"].price.output) == "0.4"


def test_options_slots_and_limits_reach_the_models() -> None:
    pool = override(
        POOL, engine="llamacpp", options={SMALL: RunCfg()}, slots={SMALL: 3, "7B": 5}, max_tokens=77, billing="each"
    )
    assert dict(pool["1.5B"].options) == {"slots": 3, "context": 512} and dict(pool["7B"].options) == {"slots": 5}
    assert pool.max_tokens_of(pool["72B"]) == 77 and pool.billing == "each"
    assert not override(POOL, engine="replay:shipped", slots={SMALL: 256})["1.5B"].options


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"options": {SMALL: {"gpu_memory_utilization": 0.6}}}, "'gpu_memory_utilization'"),
        ({"options": {"7B": {"slot": 1}}}, "did you mean 'slots'"),
        ({"options": {"8B": {}}}, "unknown model '8B'"),
        ({"prices": {"8B": {"input": 1, "output": 1}}}, "unknown model '8B'"),
        ({"prices": {"7B": {"input": 1}}}, "output: Field required"),
        ({"prices": {"7B": 3}}, "no mapping"),
        ({"prices": {"7B": {"input": -1, "output": 1}}}, "input: "),
        ({"slots": {"7B": 0}}, "the batch size of 7B is 0"),
        ({"max_tokens": 0}, "max_tokens is 0"),
    ],
)
def test_what_cannot_take_effect_is_refused_by_name(wrong: dict[str, object], named: str) -> None:
    with pytest.raises(SettingError) as caught:
        override(POOL, engine="llamacpp", **wrong)  # type: ignore[arg-type]
    assert named in str(caught.value)
