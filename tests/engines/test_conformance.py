"""What every engine must do: one suite, run over each of them. A further engine adds one fixture here."""

import asyncio
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from escalade.engines import llamacpp as llama
from escalade.engines.base import Demand, Engine, Progress, Request, engine_names
from escalade.engines.replay import Engine as Replay
from escalade.pool import Pool, PoolModel
from escalade.samples.recorded import write_recording
from escalade.samples.sample import Generation, sample_seed
from escalade.testing import ScriptedEngine, pool_of
from tests.engines.conftest import Await

TOKENS = 12
WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]


@dataclass
class Case:
    """An engine, and how to ask it."""

    engine: Engine
    model: PoolModel
    instant: bool = False
    """Nothing is generated, so nothing can be cancelled midway."""

    def request(
        self, index: int = 0, *, temperature: float = 0.7, problem: str = "p0", tokens: int = TOKENS
    ) -> Request:
        messages = [{"role": "user", "content": f"Tell me a long story about problem {problem} and the sea."}]
        seed = sample_seed(0, problem, self.model.name, temperature, index)
        return Request(problem, messages, self.model, temperature, tokens, index, seed)

    async def ask(self, index: int = 0, *, temperature: float = 0.7, problem: str = "p0") -> Generation:
        return await self.engine.sample(self.request(index, temperature=temperature, problem=problem), Progress())


def told(temperature: float, seed: int, tokens: int) -> Generation:
    """What a made-up model says."""
    dice = random.Random(seed if temperature > 0 else 0)
    length = dice.randint(tokens // 2, 2 * tokens)
    words = [dice.choice(WORDS) for _ in range(min(length, tokens))]
    finish = "length" if length > tokens else "stop"
    return Generation(" ".join(words), finish, 20, 0, len(words), None, -dice.random(), 0.0)


def scripted(request: pytest.FixtureRequest) -> Iterator[Case]:
    engine = ScriptedEngine(
        lambda r: told(r.temperature, r.seed, r.max_tokens), lambda r: 0.001 * r.max_tokens, slots=4
    )
    yield Case(engine, pool_of("S")["S"])  # type: ignore[arg-type] # a script takes no argument and pool


def replay(request: pytest.FixtureRequest) -> Iterator[Case]:
    pool, rows = pool_of("S"), []
    for problem in ("p0", "p1"):
        for temperature, n in ((0.0, 1), (0.7, 16)):
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
    yield Case(Replay(str(path), pool, seed=0), pool["S"], instant=True)


def real(request: pytest.FixtureRequest) -> Iterator[Case]:
    pool: Pool = request.getfixturevalue("small_pool")
    yield Case(request.getfixturevalue("llamacpp"), pool["135M"])


MAKERS: dict[str, Callable[[pytest.FixtureRequest], Iterator[Case]]] = {
    "scripted": scripted,
    "replay": replay,
    "llamacpp": real,
}


@pytest.fixture(
    scope="module",
    params=["scripted", "replay", pytest.param("llamacpp", marks=pytest.mark.model)],
    ids=lambda p: str(p),
)
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    yield from MAKERS[request.param](request)


def test_every_engine_there_is_runs_this_suite() -> None:
    assert set(engine_names()) <= set(MAKERS)


def test_it_is_an_engine(case: Case) -> None:
    assert isinstance(case.engine, Engine)
    assert case.engine.in_flight(case.model) >= 1
    assert case.engine.fingerprint(case.model) == case.engine.fingerprint(case.model) != ""
    case.engine.check([Demand(case.model, 0.7, 8, ["p0", "p1"])])


def test_one_request_is_one_sample(case: Case, wait: Await) -> None:
    generation = wait(case.ask())
    assert isinstance(generation, Generation)
    assert generation.text


def test_greedy_is_repeatable(case: Case, wait: Await) -> None:
    texts = {wait(case.ask(temperature=0.0)).text for _ in range(3)}
    assert len(texts) == 1


def test_the_same_seed_gives_the_same_text(case: Case, wait: Await) -> None:
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


def test_logprobs_are_of_probabilities(case: Case, wait: Await) -> None:
    for index in range(4):
        mean = wait(case.ask(index)).mean_logprob
        assert mean is not None
        assert -50 < mean <= 0


def test_many_in_flight_do_not_mix_up(case: Case, wait: Await) -> None:
    async def all_at_once() -> list[Generation]:
        places = [(problem, index) for problem in ("p0", "p1") for index in range(4)]
        return list(await asyncio.gather(*(case.ask(i, problem=p) for p, i in places)))

    together = wait(all_at_once())
    assert len(together) == 8
    assert all(g.text and g.completion_tokens for g in together)
    assert [g.prompt_tokens for g in together[:4]] == [together[0].prompt_tokens] * 4
    assert len({g.text for g in together}) >= 6


def test_a_cancelled_request_ends_soon_says_what_it_used_and_frees_its_slot(case: Case, wait: Await) -> None:
    if case.instant:
        pytest.skip("nothing is generated")
    slots = case.engine.in_flight(case.model)

    async def cancel_all() -> list[Progress]:
        progress = [Progress() for _ in range(slots)]
        jobs = [
            asyncio.ensure_future(case.engine.sample(case.request(i, tokens=400), progress[i])) for i in range(slots)
        ]
        if isinstance(case.engine, llama.Engine):
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


def test_a_request_cancelled_at_once(case: Case, wait: Await) -> None:
    async def at_once() -> None:
        job = asyncio.ensure_future(case.engine.sample(case.request(tokens=400), Progress()))
        await asyncio.sleep(0)
        if job.cancel():
            with pytest.raises(asyncio.CancelledError):
                await job

    wait(at_once())
    assert wait(case.ask()).text
