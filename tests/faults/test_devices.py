"""One model at a time where models share a device: each is loaded once, whatever the routes."""

from __future__ import annotations

import json
import random
from collections import Counter

import pandas as pd
import pytest

from escalade.cascade.policy import Policy
from escalade.climb import Answered, Task
from escalade.engines.base import Request
from escalade.executor import Executor
from escalade.pool import Pool, load_pool
from escalade.problems import Problem
from escalade.routes import parse_route
from escalade.samples.sample import Generation
from escalade.samples.store import Store
from escalade.testing import pool_of, simulate
from router_code.execute_strategies import run_routed_vllm_inference
from tests.faults.conftest import Size
from tests.faults.owner import OneDevice, within

ROUTES = (
    *("mv_cascade_S_k{k}_t0.7_M_k{k}_t0.7_L_k{k}_t0.7", "mv_cascade_S_k{k}_t0.7_L_k1_t0.0", "mv_S_k{k}_t0.7"),
    *("mv_cascade_M_k{k}_t0.7_L_k2_t0.5", "mv_entropy_cascade_S_k{k}_t0.7_M_k{k}_t0.7", "L", "mv_L_k{k}_t0.7"),
)


def shared(models: Pool) -> Pool:
    """The same models, all on one device."""
    return models.model_copy(update={"models": tuple(m.model_copy(update={"gpu": "0"}) for m in models.models)})


def mixed(request: Request) -> Generation:
    dice = random.Random(request.seed)
    return Generation(f"\\boxed{{{dice.choice('1112')}}}", prompt_tokens=15, completion_tokens=dice.randint(1, 20))


@pytest.mark.parametrize("k", range(2, 9))
def test_models_of_one_device_are_active_once_each_and_never_together(k: int, size: Size) -> None:
    for seed in range(size(2, 30)):
        dice = random.Random(f"{k} {seed}")
        models = shared(pool_of("S", "M", "L", max_tokens=20))
        engine = OneDevice(mixed, within(str(seed), dice.choice([0.0, 1.0])), slots=dice.choice([1, 5, 64]))
        answered: list[Answered] = []
        policy = Policy(target=dice.choice([0.6, 0.9]), stop=dice.choice(["verdict", "none"]))
        with Store(None) as store:
            drive = Executor(models, lambda model, e=engine: e, store=store, policy=policy, on_answer=answered.append)
            todo = [
                Task(Problem(f"p{i}", f"Number {i}?"), parse_route(dice.choice(ROUTES).format(k=k), models))
                for i in range(60)
            ]
            simulate(drive.run(todo))
        assert len(answered) == 60
        assert not engine.together
        assert engine.order == [alias for alias in "SML" if alias in engine.order]
        assert max(engine.loads.values()) == 1
        assert engine.rested == engine.order[:-1]


def test_a_failing_model_gives_its_device_up_to_the_next() -> None:
    """An engine that fails at everything is given up; the others have their turn."""

    def broken(request: Request) -> Generation:
        if request.model.alias == "S":
            raise RuntimeError("out of memory")
        return mixed(request)

    models = shared(pool_of("S", "L", max_tokens=20))
    engine, answered = OneDevice(broken, within("0", 1.0), slots=4), list[Answered]()
    drive = Executor(models, lambda model: engine, store=None, policy=Policy(), on_answer=answered.append)
    todo = [
        Task(Problem(f"p{i}", f"Number {i}?"), parse_route(route, models))
        for i, route in enumerate(["mv_cascade_S_k4_t0.7_L_k1_t0.0", "L"] * 10)
    ]
    simulate(drive.run(todo))
    assert Counter(item.outcome.status.value for item in answered) == {"error": 10, "last_tier": 10}
    assert engine.loads == {"S": 1, "L": 1}


def test_the_published_door_loads_each_model_once() -> None:
    """A table with every kind of route, as the published commands give it."""
    routes = [
        "mv_cascade_1.5B_k4_t0.7_7B_k4_t0.7_72B_k1_t0.0",
        "mv_cascade_1.5B_k8_t0.7_72B_k1_t0.0",
        "mv_7B_k4_t0.7",
        "72B",
        "1.5B",
        "mv_entropy_cascade_7B_k4_t0.7_72B_k1_t0.0",
    ]
    rows = [routes[i % len(routes)] for i in range(60)]
    table = pd.DataFrame(
        {"idx": range(60), "problem": [f"p{i}" for i in range(60)], "original_solution": "1", "route_to": rows}
    )
    pool = shared(load_pool("qwen2.5-math"))
    engine = OneDevice(mixed, lambda request: 0.001, slots=16)
    out = run_routed_vllm_inference(table, engine=engine, pool=pool)
    assert out["response_error"].isna().all()
    assert engine.order == ["1.5B", "7B", "72B"]
    assert max(engine.loads.values()) == 1
    assert not engine.together
    assert engine.rested == ["1.5B", "7B"]
    assert all(isinstance(json.loads(texts), list) for texts in out["generated_solutions"])
