"""The engine vllm: lives of models with a made-up vLLM; the tiny checkpoint through a real one by `make test-vllm`."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import escalade
from escalade import load_pool
from escalade.engines.base import Demand, Progress, Request
from escalade.engines.vllm import Engine, llm
from escalade.engines.vllm.guard import Guard, end
from escalade.engines.vllm.llm import Died, Piece
from escalade.engines.vllm.options import Options, options_of
from escalade.engines.vllm.served import Served
from escalade.errors import EngineError, SettingError, WeightsError
from escalade.pool import Pool, PoolModel, Price
from escalade.samples.sample import Generation, sample_seed
from tests.engines.conftest import Await


def model_of(**options: Any) -> PoolModel:
    return PoolModel(alias="M", name="maker/M", engine="vllm", options=options)


def pool_of(**options: Any) -> Pool:
    return Pool(name="mine", models=(model_of(**options),))


def request(index: int = 0, *, model: PoolModel | None = None, tokens: int = 8, temperature: float = 0.7) -> Request:
    seed = sample_seed(0, "p", "M", temperature, index)
    messages = [{"role": "user", "content": "Say hello."}]
    return Request("p", messages, model or model_of(), temperature, tokens, index, seed)


# Options and what is refused


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"gpu": 2}, r"model M: option 'gpu' of engine vllm: unknown; known are path, .*did you mean 'gpus'"),
        ({"gpus": 0}, r"option 'gpus' of engine vllm: .*greater than or equal to 1"),
        ({"memory": 1.5}, r"option 'memory' of engine vllm: .*less than or equal to 1"),
        ({"memory": float("nan")}, r"option 'memory' of engine vllm"),
        ({"sleep": 3}, r"option 'sleep' of engine vllm"),
        ({"sleep": True}, r"option 'sleep' of engine vllm"),
        ({"seed": 7}, r"option 'seed' of engine vllm: .*'request' or 'engine'"),
        ({"args": {"max_model_len": 9}}, r"option 'args' of engine vllm: max_model_len .*: option context does it"),
        ({"args": {"x": float("inf")}}, r"option 'args' of engine vllm: holds what is no plain value"),
    ],
)
def test_options_are_checked_at_once(options: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        Engine("", pool_of(**options), seed=0)


def test_the_published_models_have_the_published_settings() -> None:
    pool = load_pool("qwen2.5-math")
    assert {m.alias: (o.gpus, o.memory, o.context) for m in pool.models for o in [options_of(m)]} == {
        "1.5B": (1, 0.60, 4096),
        "7B": (1, 0.60, 4096),
        "72B": (2, 0.90, 4096),
    }
    own = pool["72B"].model_copy(update={"options": {"gpus": 4}})
    assert (options_of(own).gpus, options_of(own).memory) == (4, 0.90)


def test_the_options_of_other_engines_models_mean_nothing_here() -> None:
    other = PoolModel(alias="R", name="R", engine="llamacpp", options={"slots": 2})
    assert Engine("", Pool(name="mine", models=(other,)), seed=0).in_flight(other) == Options().in_flight


def test_it_takes_no_argument() -> None:
    with pytest.raises(SettingError, match=r"takes no argument, found 'http://x': .*--engine openai:ADDRESS"):
        Engine("http://x", pool_of(), seed=0)


def test_a_missing_package_is_named_before_anything_is_drawn(monkeypatch: pytest.MonkeyPatch, wait: Await) -> None:
    monkeypatch.setattr(llm.importlib.util, "find_spec", lambda name: None)
    engine = Engine("", pool_of(), seed=0)
    with pytest.raises(SettingError, match=r"pip install 'escalade\[vllm\]'"):
        engine.check([Demand(model_of(), 0.7, 1, ["p"])])
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(SettingError, match=r"pip install 'escalade\[vllm\]'"):
        wait(engine.sample(request(), Progress()))
    wait(engine.close())


def test_what_is_known_not_to_work_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(llm.importlib.util, "find_spec", lambda name: object())

    def check(temperature: float = 0.7, **options: Any) -> None:
        pool = pool_of(**options)
        Engine("", pool, seed=0).check([Demand(pool["M"], temperature, 1, ["p"])])

    with pytest.raises(SettingError, match=r"asks M at t2.5, engine vllm takes 0 to 2"):
        check(2.5)
    with pytest.raises(WeightsError, match=r"'M': option path says .*gone, but no folder is there"):
        check(path=tmp_path / "gone")
    with pytest.raises(WeightsError, match=r"but there is no config.json"):
        check(path=tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(WeightsError, match=r"but there are no weights"):
        check(path=tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"x")
    check(path=tmp_path)
    check(0.0)  # a name at the hub: whether it can be fetched is not known


def test_the_fingerprint_is_of_what_answers_not_of_its_place(tmp_path: Path) -> None:
    def folder(name: str, weights: bytes) -> Path:
        place = tmp_path / name
        place.mkdir()
        (place / "config.json").write_text("{}")
        (place / "model.safetensors").write_bytes(weights)
        return place

    def print_of(**options: Any) -> str:
        pool = pool_of(**options)
        return Engine("", pool, seed=0).fingerprint(pool["M"])

    first, copy, other = folder("a", b"1" * 9), folder("b", b"1" * 9), folder("c", b"2" * 9)
    assert print_of(path=first) == print_of(path=copy) != print_of(path=other)
    assert print_of() == "vllm:maker/M@main:" + Options().mark
    assert print_of() != print_of(revision="v2")
    plain = print_of(identity="x")
    for options in ({"gpus": 2}, {"memory": 0.5}, {"in_flight": 8}, {"sleep": 0}, {"args": {"block_size": 32}}):
        assert print_of(identity="x", **options) == plain
    for changing in ({"dtype": "float16"}, {"quantization": "fp8"}, {"seed": "engine"}, {"args": {"a": 1}}):
        assert print_of(identity="x", **changing) != plain


# One model's life, with a made-up vLLM


@dataclass
class MadeUp:
    """Says one letter a token; dies, sleeps and is slow as told."""

    seed: int
    can_sleep: bool = False
    dies: bool = False
    pace: float = 0.0
    finish: str = "length"
    log: list[str] = field(default_factory=list)
    seeds: list[int | None] = field(default_factory=list)

    def prompt(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        return [1, 2, 3]

    async def stream(
        self, name: str, prompt: Sequence[int], request: Request, seed: int | None
    ) -> AsyncIterator[Piece]:
        self.seeds.append(seed)
        for i in range(1, request.max_tokens + 1):
            await asyncio.sleep(self.pace)
            if self.dies:
                raise Died("gone")
            yield Piece("x", 1, -0.5 * i, 2, self.finish if i == request.max_tokens else None)

    async def abort(self, name: str) -> None:
        self.log.append(f"abort {name}")

    async def sleep(self, level: int) -> None:
        self.log.append(f"sleep {level}")

    async def wake(self, level: int) -> None:
        if self.dies:
            raise Died("did not wake")
        self.log.append(f"wake {level}")

    def shutdown(self) -> None:
        self.log.append("shutdown")


class Loads:
    """Gives made-up models, and knows all it gave."""

    def __init__(self, **settings: Any) -> None:
        self.settings, self.given, self.failing = settings, [], False
        self.given: list[MadeUp] = []
        self.tries = 0

    def __call__(self, seed: int) -> MadeUp:
        self.tries += 1
        if self.failing:
            raise EngineError("vLLM cannot load M: no room")
        self.given.append(MadeUp(seed, **self.settings))
        return self.given[-1]


def test_a_sample_has_all_that_is_known_of_it(wait: Await) -> None:
    loads, progress = Loads(), Progress()

    async def draw() -> Generation:
        served = Served("M", Options(), loads)
        return await served.generate(request(tokens=4), progress)

    generation = wait(draw())
    assert (generation.text, generation.finish_reason, generation.mean_logprob) == ("xxxx", "length", -0.5)
    assert progress == Progress(3, 2, 4)
    assert (generation.prompt_tokens, generation.cached_tokens, generation.completion_tokens) == (3, 2, 4)


def test_v8_each_request_has_its_own_seed_of_63_bits_unless_the_engine_has_one(wait: Await) -> None:
    async def draw(options: Options) -> tuple[list[int | None], list[int]]:
        loads = Loads()
        served = Served("M", options, loads)
        await asyncio.gather(*(served.generate(request(i), Progress()) for i in range(8)))
        return loads.given[0].seeds, [made.seed for made in loads.given]

    own, _ = wait(draw(Options()))
    assert own == [request(i).seed for i in range(8)]
    assert max(s or 0 for s in own) > 2**31
    none, (seed,) = wait(draw(Options(seed="engine")))
    assert none == [None] * 8
    assert 0 <= seed < 2**31


def test_v8_an_engine_that_starts_again_has_another_seed(wait: Await) -> None:
    async def draw_rest_draw() -> list[int]:
        loads = Loads()
        served = Served("M", Options(seed="engine"), loads)
        for _ in range(3):
            await served.generate(request(), Progress())
            await served.rest()
        return [made.seed for made in loads.given]

    assert len(set(wait(draw_rest_draw()))) == 3


def test_p25_a_model_is_loaded_once_even_if_its_first_request_is_cancelled(wait: Await) -> None:
    loads = Loads()

    async def go() -> None:
        served = Served("M", Options(), loads)
        first = asyncio.ensure_future(served.generate(request(), Progress()))
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        await asyncio.gather(*(served.generate(request(i), Progress()) for i in range(5)))
        await served.close()

    wait(go())
    assert loads.tries == 1
    assert loads.given[0].log == ["shutdown"]


def test_p13_a_model_that_cannot_be_loaded_is_not_loaded_again_and_again(wait: Await) -> None:
    loads, now = Loads(), [0.0]
    loads.failing = True

    async def go() -> None:
        served = Served("M", Options(restart=60), loads, clock=lambda: now[0])
        ended = await asyncio.gather(
            *(served.generate(request(i), Progress()) for i in range(5)), return_exceptions=True
        )
        for _ in range(3):
            ended += await asyncio.gather(served.generate(request(), Progress()), return_exceptions=True)
        assert all(isinstance(e, EngineError) and not e.retryable and "no room" in str(e) for e in ended)
        assert loads.tries == 1
        now[0], loads.failing = 61.0, False  # much later there may be room
        assert (await served.generate(request(), Progress())).text
        assert loads.tries == 2
        await served.close()

    wait(go())


def test_p13_an_engine_that_dies_is_started_anew_once_in_a_while(wait: Await) -> None:
    loads, now = Loads(dies=True), [0.0]

    async def five(served: Served) -> list[EngineError]:
        asked = (served.generate(request(i), Progress()) for i in range(5))
        ended = await asyncio.gather(*asked, return_exceptions=True)
        assert all(isinstance(end, EngineError) and end.retryable for end in ended)
        return ended  # type: ignore[return-value]

    async def go() -> None:
        served = Served("M", Options(restart=60), loads, clock=lambda: now[0])
        assert {e.retry_after for e in await five(served)} == {None}
        assert {e.retry_after for e in await five(served)} == {None}  # started anew, and died again
        now[0] = 20.0
        refused = await five(served)
        assert {e.retry_after for e in refused} == {40.0}
        assert "died 2 times" in str(refused[0])
        assert "seed = 'engine'" in str(refused[0])
        assert loads.tries == 2
        now[0], loads.settings["dies"] = 61.0, False
        assert (await served.generate(request(), Progress())).text == "x" * 8
        assert loads.tries == 3
        await served.close()

    wait(go())
    assert [made.log for made in loads.given] == [["shutdown"]] * 3  # the dead give back their memory


def test_a_cancelled_request_is_stopped_and_knows_its_tokens(wait: Await) -> None:
    loads, progress = Loads(pace=0.005), Progress()

    async def go() -> None:
        served = Served("M", Options(), loads)
        job = asyncio.ensure_future(served.generate(request(tokens=1000), progress))
        while progress.completion_tokens < 3:
            await asyncio.sleep(0.002)
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job

    wait(go())
    assert loads.given[0].log == ["abort M-0"]
    assert (progress.prompt_tokens, progress.cached_tokens) == (3, 2)
    assert 3 <= progress.completion_tokens < 10


def test_a_request_cancelled_while_its_engine_dies_is_cancelled(wait: Await) -> None:
    class Late(MadeUp):
        async def stream(self, name: str, prompt: Sequence[int], request: Request, seed: int | None) -> Any:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                raise Died("gone") from None
            yield

    async def go() -> None:
        served = Served("M", Options(), Late)
        job = asyncio.ensure_future(served.generate(request(), Progress()))
        await asyncio.sleep(0.05)
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job
        await served.close()

    wait(go())


def test_a_refused_request_has_used_nothing(wait: Await) -> None:
    class Strict(MadeUp):
        async def stream(self, name: str, prompt: Sequence[int], request: Request, seed: int | None) -> Any:
            raise EngineError("too long")
            yield

    progress = Progress()

    async def go() -> None:
        with pytest.raises(EngineError, match="too long"):
            await Served("M", Options(), Strict).generate(request(), progress)

    wait(go())
    assert progress == Progress()


@pytest.mark.parametrize("finish", ["abort", "error"])
def test_a_request_given_up_in_its_middle_is_worth_another_try(finish: str, wait: Await) -> None:
    async def go() -> None:
        served = Served("M", Options(), Loads(finish=finish))
        with pytest.raises(EngineError, match="gave up on a request to M") as error:
            await served.generate(request(), Progress())
        assert error.value.retryable

    wait(go())


@pytest.mark.parametrize(
    ("sleep", "can_sleep", "log"),
    [
        (1, True, ["sleep 1", "wake 1"]),
        (2, True, ["sleep 2", "wake 2"]),
        (1, False, ["shutdown"]),
        (0, True, []),
    ],
)
def test_a_rest_frees_the_model_and_the_next_request_brings_it_back(
    sleep: int, can_sleep: bool, log: list[str], wait: Await
) -> None:
    loads = Loads(can_sleep=can_sleep)

    async def go() -> None:
        served = Served("M", Options(sleep=sleep), loads)
        await served.rest()  # not loaded yet
        await served.generate(request(), Progress())
        await served.rest()
        await served.rest()
        asked = await asyncio.gather(*(served.generate(request(i), Progress()) for i in range(4)))
        assert all(g.text for g in asked)
        assert loads.given[0].log == log
        await served.rest()
        await served.close()

    wait(go())
    assert loads.tries == (2 if log == ["shutdown"] else 1)
    assert all(made.log.count("shutdown") == 1 for made in loads.given)


def test_a_model_with_requests_under_way_does_not_rest(wait: Await) -> None:
    loads = Loads(pace=0.005, can_sleep=True)

    async def go() -> None:
        served = Served("M", Options(), loads)
        job = asyncio.ensure_future(served.generate(request(), Progress()))
        await asyncio.sleep(0.01)
        await served.rest()
        assert (await job).text
        assert loads.given[0].log == []

    wait(go())


def test_a_model_that_does_not_wake_is_loaded(wait: Await) -> None:
    loads = Loads(can_sleep=True)

    async def go() -> None:
        served = Served("M", Options(), loads)
        await served.generate(request(), Progress())
        await served.rest()
        loads.given[0].dies = True
        assert (await served.generate(request(), Progress())).text

    wait(go())
    assert [made.log for made in loads.given] == [["sleep 1", "shutdown"], []]


def test_closing_while_a_model_is_loaded_leaves_nothing(wait: Await) -> None:
    loads = Loads()

    async def go() -> None:
        served = Served("M", Options(), loads)
        job = asyncio.ensure_future(served.generate(request(), Progress()))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        job.cancel()
        await asyncio.gather(job, return_exceptions=True)
        await served.close()
        await served.close()  # twice does no harm

    wait(go())
    assert all(made.log == ["shutdown"] for made in loads.given)


# Whoever is killed leaves nothing behind


SLEEPER = "import time; print(flush=True); time.sleep(60)"


def lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def test_p14_what_a_guard_watches_over_ends_with_whoever_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", SLEEPER], stdout=subprocess.PIPE) as watched:
        assert watched.stdout is not None
        watched.stdout.readline()
        code = (
            "import sys, time; from escalade.engines.vllm.guard import Guard; "
            "guard = Guard([int(sys.argv[1])]); print(flush=True); time.sleep(60)"
        )
        with subprocess.Popen([sys.executable, "-c", code, str(watched.pid)], stdout=subprocess.PIPE) as owner:
            assert owner.stdout is not None
            owner.stdout.readline()
            assert lives(watched.pid)
            owner.kill()
        assert watched.wait(20) == -signal.SIGTERM


def test_a_guard_that_is_released_ends_nothing() -> None:
    with subprocess.Popen([sys.executable, "-c", SLEEPER], stdout=subprocess.PIPE) as watched:
        assert watched.stdout is not None
        watched.stdout.readline()
        Guard([watched.pid]).release()
        assert lives(watched.pid)
        end([watched.pid])
        watched.wait(20)


def test_what_does_not_end_by_itself_is_forced() -> None:
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", deaf], stdout=subprocess.PIPE) as watched:
        assert watched.stdout is not None
        watched.stdout.readline()
        end([watched.pid], grace=0.3)
        assert watched.wait(20) == -signal.SIGKILL
        end([2**22 + 1])  # nobody's id: nothing happens


# vLLM itself


def hurried(pool: Pool, **options: Any) -> Pool:
    """The tiny checkpoint with further options."""
    model = pool["tiny"]
    merged = {**model.options, **options, "args": {**model.options["args"], **options.get("args", {})}}
    return pool.model_copy(update={"models": (model.model_copy(update={"options": merged}),)})


async def many(engine: Engine, model: PoolModel, n: int, *, tokens: int = 40) -> list[Any]:
    asked = (engine.sample(request(i, model=model, tokens=tokens), Progress()) for i in range(n))
    return list(await asyncio.gather(*asked, return_exceptions=True))


def generating_process(engine: Engine) -> int:
    """Id of the process that generates."""
    loaded: Any = engine._served["tiny"]._start.result()  # type: ignore[union-attr]
    (process,) = loaded._llm.engine_core.resources.engine_manager.processes
    return int(process.pid)


def test_vllm_many_requests_with_seeds_of_their_own(vllm: Engine, tiny_vllm: Pool, wait: Await) -> None:
    model = tiny_vllm["tiny"]
    together = wait(many(vllm, model, 200))  # more than are computed in one step
    assert all(isinstance(g, Generation) for g in together)
    alone = [wait(vllm.sample(request(i, model=model, tokens=40), Progress())) for i in (0, 99, 199)]
    same = [a.text[:8] == together[i].text[:8] for a, i in zip(alone, (0, 99, 199), strict=True)]
    assert sum(same) >= 2  # the batch may turn a close choice
    assert together[199].cached_tokens is not None


def test_vllm_an_answer_that_ends_by_itself(vllm: Engine, tiny_vllm: Pool, wait: Await) -> None:
    async def hot() -> list[Generation]:
        asked = (
            vllm.sample(request(i, model=tiny_vllm["tiny"], temperature=2.0, tokens=400), Progress()) for i in range(8)
        )
        return list(await asyncio.gather(*asked))

    ended = [g for g in wait(hot()) if g.finish_reason == "stop"]
    assert ended
    assert all(g.completion_tokens is not None and g.completion_tokens < 400 for g in ended)
    assert not any("<|im_end|>" in (g.text or "") for g in ended)


def test_vllm_k_samples_compute_their_prompt_once(vllm: Engine, tiny_vllm: Pool, wait: Await) -> None:
    text = "Count the apples in each of the baskets. " * 15  # 600 tokens; blocks have 128
    asked = [
        Request("p", [{"role": "user", "content": text}], tiny_vllm["tiny"], 0.7, 4, i, 1000 + i) for i in range(3)
    ]
    drawn = [wait(vllm.sample(one, Progress())) for one in asked]
    assert drawn[0].cached_tokens == 0
    assert [g.cached_tokens for g in drawn[1:]] == [512, 512]


def test_vllm_unknown_arguments_are_refused(tiny_vllm: Pool) -> None:
    pool = hurried(tiny_vllm, args={"enable_prefix_cachin": True})
    with pytest.raises(SettingError, match=r"know no 'enable_prefix_cachin'; did you mean 'enable_prefix_caching'"):
        Engine("", pool, seed=0).check([Demand(pool["tiny"], 0.7, 1, ["p"])])


def test_vllm_what_cannot_be_loaded_is_an_error_in_few_words(tiny_vllm: Pool, wait: Await, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"nonsense")
    pool = hurried(tiny_vllm, path=tmp_path)
    engine = Engine("", pool, seed=0)
    with pytest.raises(EngineError, match=r"vLLM cannot load tiny from .*: ") as error:
        wait(engine.sample(request(model=pool["tiny"]), Progress()))
    assert not error.value.retryable
    assert len(str(error.value)) < 1000
    wait(engine.close())


def test_vllm_p13_a_run_loses_nothing_when_its_engine_dies(
    tiny_vllm: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process that generates is killed in the middle; the run goes on with a new one, and has all its samples."""
    model = tiny_vllm["tiny"].model_copy(update={"price": Price.model_validate({"input": 1, "output": 1})})
    pool = tiny_vllm.model_copy(update={"models": (model,), "max_tokens": 200, "route": "mv_tiny_k8_t0.7"})
    killed: list[int] = []
    sample = Engine.sample

    async def killing(self: Engine, request: Request, progress: Progress) -> Generation:
        generation = await sample(self, request, progress)
        if not killed and request.index == 3:
            killed.append(generating_process(self))
            os.kill(killed[0], signal.SIGKILL)
        return generation

    monkeypatch.setattr(Engine, "sample", killing)
    problems = [{"id": f"p{i}", "problem": f"What is {i} + {i}?", "answer": str(2 * i)} for i in range(12)]
    results = escalade.run(problems, pool=pool, stop="none", store=tmp_path / "s.sqlite")
    assert killed
    assert not any(item.outcome.status == "error" for item in results.answered)
    assert len(results.samples()) == 12 * 8


KILLED = """
import asyncio, os, signal, sys
from escalade.engines.base import Progress, Request
from escalade.engines.vllm import Engine
from escalade.pool import Pool, PoolModel

async def main():
    model = PoolModel.model_validate_json(sys.argv[1])
    engine = Engine("", Pool(name="mine", models=(model,)), seed=0)
    request = Request("p", [{"role": "user", "content": "Hello."}], model, 0.7, 4, 0, 5)
    assert (await engine.sample(request, Progress())).text
    (process,) = engine._served["tiny"]._start.result()._llm.engine_core.resources.engine_manager.processes
    print(process.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    asyncio.run(main())
"""


def test_vllm_p14_a_process_that_is_killed_leaves_none_of_vllms(tiny_vllm: Pool, tmp_path: Path) -> None:
    (tmp_path / "killed.py").write_text(KILLED)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "killed.py"), tiny_vllm["tiny"].model_dump_json()],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        timeout=120,
    )
    process = int(done.stdout.split()[-1])
    for _ in range(300):
        if not lives(process):
            break
        time.sleep(0.1)
    assert not lives(process)


def test_vllm_rests_and_comes_back_and_an_engines_own_seed_survives_many(tiny_vllm: Pool, wait: Await) -> None:
    pool = hurried(tiny_vllm, seed="engine")
    engine = Engine("", pool, seed=0)
    before = wait(many(engine, pool["tiny"], 100, tokens=12))
    process = generating_process(engine)
    wait(engine.rest(pool["tiny"]))
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)
    after = wait(many(engine, pool["tiny"], 100, tokens=12))
    wait(engine.close())
    assert all(isinstance(g, Generation) for g in before + after)
    texts = {g.text for g in before} & {g.text for g in after}
    assert len(texts) < 20  # not the same stream of random numbers again
