"""What every engine must do: one suite, run over each of them. A further engine adds one maker here."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from escalade.engines import llamacpp as llama
from escalade.engines.base import Demand, Engine, Progress, Request, engine_names
from escalade.engines.openai import Engine as OpenAI
from escalade.engines.replay import Engine as Replay
from escalade.engines.transformers import Engine as Transformers
from escalade.engines.vllm import Engine as Vllm
from escalade.errors import EngineError
from escalade.pool import Pool, PoolModel
from escalade.samples.recorded import write_recording
from escalade.samples.sample import Generation, sample_seed
from escalade.testing import ScriptedEngine, pool_of
from tests.engines.conftest import Await, LlamaServer
from tests.engines.server import Server, told

TOKENS = 12
AT_ONCE = 100
"""Samples of each of two problems."""


@dataclass
class Case:
    """An engine, and how to ask it."""

    engine: Engine
    model: PoolModel
    another: Callable[[], Engine]
    """Opens one more like it."""
    wait: Await
    instant: bool = False
    """Nothing is generated, so nothing can be cancelled midway."""
    streams: bool = True
    """Tells of every token as it comes."""
    seeded: bool = True
    """Whether the engine is declared to honour seeds."""
    at_once: int = AT_ONCE
    generated: Callable[[], int] | None = None
    """Tokens that were generated, by the counter of whatever generates them."""

    def request(
        self, index: int = 0, *, temperature: float = 0.7, problem: str = "p0", tokens: int = TOKENS
    ) -> Request:
        text = "Tell me a story. " * 1000 if problem == "broken" else f"Tell me a long story about {problem} at sea."
        seed = sample_seed(0, problem, self.model.name, temperature, index)
        messages = [{"role": "user", "content": text}]
        return Request(problem, messages, self.model, temperature, tokens, index, seed)

    async def ask(self, index: int = 0, *, temperature: float = 0.7, problem: str = "p0") -> Generation:
        return await self.engine.sample(self.request(index, temperature=temperature, problem=problem), Progress())


Maker = Callable[[pytest.FixtureRequest, Await], Iterator[Case]]


def scripted(request: pytest.FixtureRequest, wait: Await) -> Iterator[Case]:
    generated = 0

    def script(asked: Request) -> Generation:
        nonlocal generated
        if asked.problem_id == "broken":
            raise EngineError("no script for that", refused=True)
        generation = told(asked.temperature, asked.seed, asked.max_tokens)
        generated += generation.completion_tokens or 0
        return generation

    def another() -> ScriptedEngine:
        return ScriptedEngine(script, lambda r: 0.001 * r.max_tokens, slots=4)

    model = pool_of("S")["S"]
    yield Case(another(), model, another, wait, streams=False, generated=lambda: generated)  # type: ignore[arg-type] # a script takes no argument and pool


def replay(request: pytest.FixtureRequest, wait: Await) -> Iterator[Case]:
    pool, rows = pool_of("S"), []
    for problem in ("p0", "p1"):
        for temperature, n in ((0.0, 1), (0.7, AT_ONCE)):
            for index in range(n):
                generation = told(temperature, sample_seed(0, problem, "S", temperature, index), TOKENS)
                rows.append(
                    {
                        "problem_id": problem,
                        "model": "S",
                        "temperature": temperature,
                        "sample_index": index,
                        "text": generation.text,
                        "finish_reason": generation.finish_reason,
                        "prompt_tokens": generation.prompt_tokens,
                        "completion_tokens": generation.completion_tokens,
                        "mean_logprob": generation.mean_logprob,
                    }
                )
    path: Path = request.getfixturevalue("tmp_path_factory").mktemp("replay") / "recording.parquet"
    write_recording(pd.DataFrame(rows), pool, path)

    def another() -> Replay:
        return Replay(str(path), pool, seed=0)

    yield Case(another(), pool["S"], another, wait, instant=True)


def llamacpp(request: pytest.FixtureRequest, wait: Await) -> Iterator[Case]:
    pool: Pool = request.getfixturevalue("small_pool")
    engine: llama.Engine = request.getfixturevalue("llamacpp")

    def generated() -> int:
        counters = engine.metrics(pool["135M"])
        assert counters is not None
        (line,) = (line for line in counters.splitlines() if line.startswith("llamacpp:tokens_predicted_total "))
        return int(line.split()[1])

    yield Case(engine, pool["135M"], lambda: llama.Engine("", pool, seed=0), wait, at_once=4, generated=generated)


def of_server(url: str, **options: Any) -> tuple[Callable[[], OpenAI], PoolModel]:
    """What opens an engine that asks a server, and its model."""
    settings = {"alias": "S", "name": "test/S", "engine": "openai", "options": {"base_url": url, **options}}
    model = PoolModel.model_validate(settings)
    return lambda: OpenAI("", Pool(name="mine", models=(model,)), seed=0), model


def openai(request: pytest.FixtureRequest, wait: Await, **options: Any) -> Iterator[Case]:
    server = Server(pace=0.001)
    wait(server.start())
    another, model = of_server(server.url, **options)
    engine = another()
    seeded = options.get("seed", True)
    yield Case(engine, model, another, wait, seeded=seeded, generated=lambda: server.generated)
    wait(engine.close())
    wait(server.stop())


def openai_unseeded(request: pytest.FixtureRequest, wait: Await) -> Iterator[Case]:
    yield from openai(request, wait, seed=False)


def openai_completion(request: pytest.FixtureRequest, wait: Await) -> Iterator[Case]:
    yield from openai(request, wait, endpoint="completion", in_flight=256, seed_bits=63)


def openai_llamacpp(request: pytest.FixtureRequest, wait: Await) -> Iterator[Case]:
    server: LlamaServer = request.getfixturevalue("llama_server")
    extra = {"top_k": 0, "min_p": 0.0, "timings_per_token": True}
    another, model = of_server(server.url, in_flight=4, served_model="tiny", extra_body=extra)
    engine = another()
    yield Case(engine, model, another, wait, at_once=4, generated=lambda: server.counter("tokens_predicted_total"))
    wait(engine.close())


def transformers(request: pytest.FixtureRequest, wait: Await) -> Iterator[Case]:
    pool: Pool = request.getfixturevalue("tiny_transformers")
    engine: Transformers = request.getfixturevalue("transformers")
    model = pool["tiny"]
    passes = 0

    def count(*_: object) -> None:
        nonlocal passes
        passes += 1

    wait(engine._model(model)).net.register_forward_hook(count)
    yield Case(engine, model, lambda: Transformers("", pool, seed=0), wait, at_once=4, generated=lambda: passes)


def vllm(request: pytest.FixtureRequest, wait: Await) -> Iterator[Case]:
    pool: Pool = request.getfixturevalue("tiny_vllm")
    engine: Vllm = request.getfixturevalue("vllm")

    def generated() -> int:
        from prometheus_client import REGISTRY

        samples = (sample for metric in REGISTRY.collect() for sample in metric.samples)
        return int(sum(sample.value for sample in samples if sample.name == "vllm:generation_tokens_total"))

    yield Case(engine, pool["tiny"], lambda: Vllm("", pool, seed=0), wait, at_once=4, generated=generated)


MAKERS: dict[str, Maker] = {
    "scripted": scripted,
    "replay": replay,
    "llamacpp": llamacpp,
    "openai": openai,
    "openai, without seeds": openai_unseeded,
    "openai, completion": openai_completion,
    "openai, llama.cpp's server": openai_llamacpp,
    "transformers": transformers,
    "vllm": vllm,
}
REAL = {"llamacpp", "openai, llama.cpp's server"}


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=pytest.mark.model if name in REAL else ()) for name in MAKERS],
    ids=lambda p: str(p),
)
def case(request: pytest.FixtureRequest, wait: Await) -> Iterator[Case]:
    yield from MAKERS[request.param](request, wait)


def test_every_engine_there_is_runs_this_suite() -> None:
    assert set(engine_names()) <= set(MAKERS)


def test_it_is_an_engine(case: Case) -> None:
    assert isinstance(case.engine, Engine)
    assert case.engine.in_flight(case.model) >= 1
    assert case.engine.fingerprint(case.model) == case.another().fingerprint(case.model) != ""
    case.engine.check([Demand(case.model, 0.7, 8, ["p0", "p1"])])


def test_one_request_is_one_sample(case: Case, wait: Await) -> None:
    generation = wait(case.ask())
    assert isinstance(generation, Generation)
    assert generation.text


def test_greedy_is_repeatable(case: Case, wait: Await) -> None:
    texts = {wait(case.ask(temperature=0.0)).text for _ in range(3)}
    assert len(texts) == 1


def test_the_same_seed_gives_the_same_text(case: Case, wait: Await) -> None:
    if not case.seeded:
        pytest.skip("declared to honour no seeds")
    assert wait(case.ask(3)).text == wait(case.ask(3)).text


def test_other_seeds_give_other_texts(case: Case, wait: Await) -> None:
    assert len({wait(case.ask(index)).text for index in range(6)}) >= 3


def test_tokens_are_counted(case: Case, wait: Await) -> None:
    generations = [wait(case.ask(index)) for index in range(6)]
    for generation in generations:
        assert generation.prompt_tokens is not None
        assert 0 < generation.prompt_tokens <= case.engine.prompt_bound(case.request())
        assert 0 <= (generation.cached_tokens or 0) <= generation.prompt_tokens
        assert generation.completion_tokens is not None
        assert 0 < generation.completion_tokens <= TOKENS
        if generation.finish_reason == "length":
            assert generation.completion_tokens == TOKENS
        else:
            assert generation.finish_reason == "stop"
    assert any(generation.finish_reason == "length" for generation in generations)
    assert len({generation.prompt_tokens for generation in generations}) == 1  # k samples have one prompt


def test_p17_tokens_are_as_many_as_were_generated(case: Case, wait: Await) -> None:
    if case.generated is None:
        pytest.skip("nothing is generated")
    wait(case.ask())
    before = case.generated()
    drawn = [wait(case.ask(index)) for index in range(4)]
    assert case.generated() - before == sum(generation.completion_tokens or 0 for generation in drawn)


def test_progress_ends_where_the_generation_does(case: Case, wait: Await) -> None:
    if case.instant or not case.streams:
        pytest.skip("does not tell of tokens as they come")
    progress = Progress()
    generation = wait(case.engine.sample(case.request(), progress))
    assert progress == Progress(generation.prompt_tokens, generation.cached_tokens, generation.completion_tokens)


def test_logprobs_are_of_probabilities(case: Case, wait: Await) -> None:
    for index in range(4):
        mean = wait(case.ask(index)).mean_logprob
        assert mean is not None
        assert -50 < mean <= 0


def test_many_in_flight_do_not_mix_up(case: Case, wait: Await) -> None:
    places = [(problem, index) for problem in ("p0", "p1") for index in range(case.at_once)]

    async def all_at_once() -> list[Generation]:
        return list(await asyncio.gather(*(case.ask(i, problem=p) for p, i in places)))

    together = wait(all_at_once())
    assert len(together) == 2 * case.at_once
    assert all(g.text and g.completion_tokens for g in together)
    assert len({g.prompt_tokens for g in together[: case.at_once]}) == 1
    assert len({g.text for g in together}) >= 0.75 * len(together)
    if case.seeded and case.at_once == AT_ONCE:  # a real model's texts depend on the batch they were generated in
        assert [wait(case.ask(i, problem=p)).text for p, i in places[::20]] == [g.text for g in together[::20]]


def test_a_request_that_is_refused_is_an_error_of_its_own(case: Case, wait: Await) -> None:
    async def both() -> list[Generation | BaseException]:
        return list(await asyncio.gather(case.ask(problem="broken"), case.ask(), return_exceptions=True))

    failed, fine = wait(both())
    assert isinstance(failed, EngineError)
    assert not failed.retryable
    assert failed.refused or case.instant, "it is the request that is at fault"
    assert str(failed)
    assert isinstance(fine, Generation)


def test_a_text_ends_before_a_stop_text(case: Case, wait: Await) -> None:
    if case.instant or not case.streams:
        pytest.skip("nothing is generated")
    whole = wait(case.ask(temperature=0.0)).text or ""
    words = whole.split()
    word = words[2] if len(words) > 2 else whole[len(whole) // 2 :][:4]
    request = replace(case.request(temperature=0.0), stop=(word,))
    cut = wait(case.engine.sample(request, Progress()))
    assert cut.text == whole[: whole.index(word)]
    assert cut.finish_reason == "stop"


def test_a_cancelled_request_ends_soon_says_what_it_used_and_frees_its_slot(case: Case, wait: Await) -> None:
    if case.instant:
        pytest.skip("nothing is generated")
    slots = min(case.engine.in_flight(case.model), 16)

    async def cancel_all() -> list[Progress]:
        progress = [Progress() for _ in range(slots)]
        jobs = [
            asyncio.ensure_future(case.engine.sample(case.request(i, tokens=400), progress[i])) for i in range(slots)
        ]
        if case.streams:
            while not all(p.completion_tokens >= 2 for p in progress):
                await asyncio.sleep(0.005)
        else:
            await asyncio.sleep(0)
        for job in jobs:
            job.cancel()
        ended = await asyncio.gather(*jobs, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ended)
        return progress

    for progress in wait(cancel_all()):
        assert 0 < progress.completion_tokens < 400
    for _ in range(2):
        wait(cancel_all())  # as many again find room

    async def all_slots() -> list[Generation]:
        return list(await asyncio.gather(*(case.ask(i) for i in range(slots))))

    assert len(wait(all_slots())) == slots


def test_cancelling_stops_what_generates(case: Case, wait: Await) -> None:
    generated = case.generated
    if generated is None or not case.streams:
        pytest.skip("has no tokens under way")
    wait(case.ask())

    async def cancelled() -> tuple[int, int]:
        before = generated()
        progress = Progress()
        job = asyncio.ensure_future(case.engine.sample(case.request(tokens=400), progress))
        while progress.completion_tokens < 3:
            await asyncio.sleep(0.002)
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job
        count = -1
        while count != (count := generated() - before):  # until it stands still
            await asyncio.sleep(0.3)
        return progress.completion_tokens, count

    used, count = wait(cancelled())
    assert used >= 3
    assert count <= used + 40, "it went on"


def test_a_request_cancelled_at_once(case: Case, wait: Await) -> None:
    async def at_once() -> None:
        job = asyncio.ensure_future(case.engine.sample(case.request(tokens=400), Progress()))
        await asyncio.sleep(0)
        if job.cancel():
            with pytest.raises(asyncio.CancelledError):
                await job

    wait(at_once())
    assert wait(case.ask()).text


def test_after_closing_no_task_thread_or_socket_is_left(case: Case, wait: Await) -> None:
    def sockets() -> int:
        folder = Path("/proc/self/fd")
        return sum(_leads_to_a_socket(link) for link in folder.iterdir()) if folder.exists() else 0

    async def opened_and_closed() -> None:
        # What the loop keeps for its own use is none of the engine's.
        await asyncio.to_thread(threading.enumerate)
        tasks, before, threads = asyncio.all_tasks(), sockets(), set(threading.enumerate())
        engine = case.another()
        asked = [asyncio.ensure_future(engine.sample(case.request(i), Progress())) for i in range(4)]
        await asyncio.gather(*asked[:2])
        for job in asked:
            job.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
        await engine.close()
        deadline = asyncio.get_running_loop().time() + 5
        while sockets() > before or asyncio.all_tasks() - tasks:  # the other end may take a moment
            assert asyncio.get_running_loop().time() < deadline, (asyncio.all_tasks() - tasks, sockets(), before)
            await asyncio.sleep(0.01)
        left = [thread.name for thread in set(threading.enumerate()) - threads]
        assert not [name for name in left if not name.startswith(("asyncio_", "AnyIO"))]

    wait(opened_and_closed())


def _leads_to_a_socket(link: Path) -> bool:
    try:
        return str(link.readlink()).startswith("socket:")
    except OSError:
        return False


def test_a_model_at_rest_comes_back(case: Case, wait: Await) -> None:
    before = wait(case.ask(temperature=0.0)).text
    for _ in range(2):
        wait(case.engine.rest(case.model))
    assert wait(case.ask(temperature=0.0)).text == before
