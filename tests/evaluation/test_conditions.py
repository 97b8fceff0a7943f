from escalade.evaluation.conditions import Conditions
from escalade.pool import load_pool


def test_the_conditions_of_a_pool() -> None:
    pool = load_pool("qwen2.5-math")
    now = Conditions.of(pool, {"math": "1"}, {"7B": "engine:7B"})
    assert now.models["7B"].weights == "engine:7B"
    assert now.models["72B"].weights is None
    assert now.models["7B"].prompt == pool.prompt_of(pool["7B"]).fingerprint
    assert now.differences(Conditions.of(pool, {"math": "1"}), pool.aliases) == []
