"""The real 135M through llama.cpp."""

import asyncio
import json
import re
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from escalade.engines.base import Demand, Progress, Request
from escalade.engines.llamacpp import Engine
from escalade.engines.llamacpp.loaded import Loaded
from escalade.engines.llamacpp.options import Options
from escalade.errors import EngineError, EscaladeError, SettingError, WeightsError
from escalade.pool import Pool, PoolModel
from tests.engines.conftest import Await


def request(model: PoolModel, text: str = "Say hello.", *, tokens: int = 8, seed: int = 1) -> Request:
    return Request("p", [{"role": "user", "content": text}], model, 0.7, tokens, 0, seed)


def pool_of(**settings: object) -> Pool:
    model = PoolModel(alias="M", name="maker/M", **settings)  # type: ignore[arg-type]
    return Pool(name="mine", models=(model,))


def within(pool: Pool, gigabytes: float, *, aliases: Sequence[str] = (), **options: object) -> Pool:
    """A pool with a limit of memory in GB, and further options of some of its models."""
    models = [
        m.model_copy(update={"options": {**m.options, **options}}) if m.alias in aliases else m for m in pool.models
    ]
    return pool.model_copy(update={"models": tuple(models), "engines": {"llamacpp": {"memory": gigabytes}}})


def counted(monkeypatch: pytest.MonkeyPatch, may_go_on: threading.Event | None = None) -> list[str]:
    """Return the list to which the alias of each model is added as it is loaded."""
    loads: list[str] = []
    load = Loaded.__init__

    def noted(self: Loaded, alias: str, path: Path, options: Options, *, bounded: bool) -> None:
        loads.append(alias)
        if may_go_on is not None:
            may_go_on.wait(30)
        load(self, alias, path, options, bounded=bounded)

    monkeypatch.setattr(Loaded, "__init__", noted)
    return loads


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"slot": 4}, r"model M: option 'slot' of engine llamacpp: Extra inputs"),
        ({"slots": 0}, r"model M: option 'slots' of engine llamacpp: .*greater than or equal to 1"),
        ({"context": "much"}, r"model M: option 'context' of engine llamacpp: .*integer"),
    ],
)
def test_options_are_checked_at_once(options: dict[str, object], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        Engine("", pool_of(options=options), seed=0)


def test_the_options_of_other_engines_models_are_not_its_business() -> None:
    other = PoolModel(alias="R", name="R", engine="remote", options={"address": "x"})
    mine = pool_of()
    engine = Engine("", mine.model_copy(update={"models": (*mine.models, other)}), seed=0)
    with pytest.raises(SettingError, match="model R: option 'address' of engine llamacpp"):
        engine.in_flight(other)  # asked after all


def test_it_takes_no_argument() -> None:
    with pytest.raises(SettingError, match=r"engine llamacpp takes no argument, found 'x\.gguf'"):
        Engine("x.gguf", pool_of(), seed=0)


def test_missing_weights_name_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wait: Await) -> None:
    monkeypatch.setenv("ESCALADE_CACHE", str(tmp_path))
    source = {"url": "https://example.invalid/m.gguf"}
    for settings, said in (
        ({"sha256": "0" * 64, "sources": (source,)}, r"'M' are not on this machine: .*escalade models pull"),
        ({"file": tmp_path / "gone.gguf"}, r"gone.gguf, but no file is there; put it there"),
        ({}, r"has no weights: it names neither a file nor sources; set its `file`"),
    ):
        pool = pool_of(**settings)
        engine = Engine("", pool, seed=0)
        with pytest.raises(WeightsError, match=said):
            engine.check([Demand(pool["M"], 0.7, 1, ["p"])])
        with pytest.raises(WeightsError, match=said):
            wait(engine.sample(request(pool["M"]), Progress()))
        wait(engine.close())


@pytest.mark.model
def test_a_file_that_is_no_model_fails_once_and_stays_failed(
    tmp_path: Path, wait: Await, monkeypatch: pytest.MonkeyPatch, smallest_model: Path
) -> None:
    (tmp_path / "bad.gguf").write_bytes(b"GGUF nonsense" * 100)
    pool = pool_of(file=tmp_path / "bad.gguf")
    engine = Engine("", pool, seed=0)
    loads = counted(monkeypatch)
    for _ in range(3):  # not loaded anew for every request
        with pytest.raises(EngineError, match=r"llama.cpp cannot load M from .*bad.gguf"):
            wait(engine.sample(request(pool["M"]), Progress()))
    assert loads == ["M"]
    wait(engine.close())


@pytest.mark.model
def test_p25_a_model_is_loaded_once_even_if_its_first_request_is_cancelled(
    small_pool: Pool, wait: Await, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_go_on = threading.Event()
    loads = counted(monkeypatch, may_go_on)
    engine = Engine("", small_pool, seed=0)

    async def cancel_while_loading() -> list[str | None]:
        model = small_pool["135M"]
        first = asyncio.ensure_future(engine.sample(request(model), Progress()))
        while not loads:
            await asyncio.sleep(0.005)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        rest = [asyncio.ensure_future(engine.sample(request(model, seed=i), Progress())) for i in range(3)]
        await asyncio.sleep(0)
        may_go_on.set()
        return [g.text for g in await asyncio.gather(*rest)]

    assert all(wait(cancel_while_loading()))
    assert loads == ["135M"]
    wait(engine.close())


@pytest.mark.model
def test_a_prompt_longer_than_the_context_is_the_error_of_its_request(
    llamacpp: Engine, small_pool: Pool, wait: Await
) -> None:
    async def both() -> list[object]:
        long, short = request(small_pool["135M"], "word " * 2000), request(small_pool["135M"])
        asked = [llamacpp.sample(r, Progress()) for r in (long, short)]
        return list(await asyncio.gather(*asked, return_exceptions=True))

    failed, fine = wait(both())
    assert isinstance(failed, EngineError)
    assert not failed.retryable
    assert re.search(r"failed on 135M: .*exceeds the available context size \(512", str(failed))
    assert not isinstance(fine, BaseException)
    assert fine.text


@pytest.mark.model
def test_a_cancelled_generation_stops_in_the_server(llamacpp: Engine, small_pool: Pool, wait: Await) -> None:
    model = small_pool["135M"]

    async def cancelled() -> tuple[int, list[int]]:
        await llamacpp.sample(request(model), Progress())

        def counter(name: str) -> int:
            (found,) = re.findall(rf"^llamacpp:{name} (\d+)", llamacpp.metrics(model) or "", re.MULTILINE)
            return int(found)

        before = counter("tokens_predicted_total")
        progress = Progress()
        job = asyncio.ensure_future(llamacpp.sample(request(model, "Tell me everything.", tokens=400), progress))
        while progress.completion_tokens < 3:
            await asyncio.sleep(0.005)
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job
        while counter("requests_processing"):  # the server takes notice between two tokens
            await asyncio.sleep(0.005)
        readings = []
        for _ in range(3):
            readings.append(counter("tokens_predicted_total") - before)
            await asyncio.sleep(0.1)
        assert progress.prompt_tokens is not None
        return progress.completion_tokens, readings

    used, readings = wait(cancelled())
    assert 3 <= used < 400
    assert len(set(readings)) == 1, "the server went on"
    assert readings[0] <= used + 5


@pytest.mark.model
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_two_models_at_once_have_a_port_each_on_this_machine_only(
    llamacpp: Engine, small_pool: Pool, wait: Await
) -> None:
    async def both() -> list[object]:
        return list(await asyncio.gather(*(llamacpp.sample(request(m), Progress()) for m in small_pool.models)))

    assert len(wait(both())) == 2
    listening = listeners()
    assert len(listening) == 2
    assert len({port for _, port in listening}) == 2
    assert {address for address, _ in listening} == {"0100007F"}  # 127.0.0.1


def listeners() -> list[tuple[str, str]]:
    """Address and port, in hexadecimal, of the sockets on which this process listens."""
    inodes = set()
    for link in Path("/proc/self/fd").iterdir():
        try:
            name = str(link.readlink())
        except OSError:
            continue
        if name.startswith("socket:["):
            inodes.add(name[8:-1])
    out = []
    for table in ("tcp", "tcp6"):
        path = Path("/proc/self/net") / table
        if not path.exists():
            continue
        for line in path.read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                address, port = fields[1].split(":")
                out.append((address, port))
    return out


@pytest.mark.model
def test_after_closing_nothing_is_left(small_pool: Pool, wait: Await) -> None:
    def ours() -> int:
        return sum(t.name.startswith("llamacpp-twin") for t in threading.enumerate())

    before = ours()
    engine = Engine("", small_pool, seed=0)
    wait(engine.sample(request(small_pool["twin"]), Progress()))
    assert ours() > before
    wait(engine.close())
    assert ours() == before
    wait(engine.close())  # twice does no harm


@pytest.mark.model
def test_p25_a_model_at_rest_is_unloaded_and_loaded_again_by_the_next_request_only(
    small_pool: Pool, wait: Await, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads = counted(monkeypatch)
    model = small_pool["twin"]

    def ours() -> int:
        return sum(t.name.startswith("llamacpp-twin") for t in threading.enumerate())

    async def draw_rest_draw() -> None:
        before_all = ours()
        engine = Engine("", small_pool, seed=0)
        await engine.rest(model)  # not loaded yet
        first = asyncio.ensure_future(engine.sample(request(model), Progress()))
        await asyncio.sleep(0)
        await engine.rest(model)  # asked: stays
        before = await first
        assert loads == ["twin"]
        await engine.rest(model)
        assert ours() == before_all
        asked = [engine.sample(request(model), Progress()) for _ in range(3)]
        assert {g.text for g in await asyncio.gather(*asked)} == {before.text}
        assert loads == ["twin", "twin"]
        await engine.close()

    wait(draw_rest_draw())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"memory": 0.0}, "pool mine: setting 'memory' of engine llamacpp: .*greater than 0"),
        ({"memory": "6GB"}, "pool mine: setting 'memory' of engine llamacpp: .*number"),
        ({"memry": 6}, "pool mine: setting 'memry' of engine llamacpp: Extra inputs"),
    ],
)
def test_settings_are_checked_at_once(settings: dict[str, object], said: str) -> None:
    pool = pool_of().model_copy(update={"engines": {"llamacpp": settings}})
    with pytest.raises(SettingError, match=said):
        Engine("", pool, seed=0)


def demands(pool: Pool) -> list[Demand]:
    return [Demand(model, 0.7, 4, ["p"]) for model in pool.models]


@pytest.mark.model
def test_a_model_that_alone_takes_more_than_the_limit_is_refused_before_anything_is_drawn(
    small_pool: Pool, wait: Await
) -> None:
    engine = Engine("", within(small_pool, 0.3), seed=0)
    said = (
        r"model 135M takes 0\.35 GB \(0\.10 of weights, 0\.05 of cache for 4 slots of 512 tokens, 0\.20 besides\), and "
        r"the models of engine llamacpp may take 0\.30 GB: raise memory in \[engines\.llamacpp\] of pool tiny, lower "
    )
    with pytest.raises(SettingError, match=said):
        engine.check(demands(small_pool))
    with pytest.raises(SettingError, match=said):
        wait(engine.sample(request(small_pool["135M"]), Progress()))
    Engine("", within(small_pool, 0.3, aliases=["135M", "twin"], memory=0.25), seed=0).check(demands(small_pool))
    Engine("", within(small_pool, 0.4), seed=0).check(demands(small_pool))
    bigger = within(small_pool, 0.4, aliases=["twin"], slots=16)
    with pytest.raises(SettingError, match=r"model twin takes 0\.49 GB .*16 slots of 512 tokens"):
        Engine("", bigger, seed=0).check(demands(bigger))


@pytest.mark.model
@pytest.mark.parametrize(("memory", "loaded"), [(0.8, ["135M", "twin"]), (0.5, ["135M", "twin", "135M"])])
def test_models_that_fit_together_stay_loaded_and_others_make_room(
    small_pool: Pool, wait: Await, monkeypatch: pytest.MonkeyPatch, memory: float, loaded: list[str]
) -> None:
    loads, engine = counted(monkeypatch), Engine("", within(small_pool, memory), seed=0)

    async def in_turn() -> None:
        for alias in ("135M", "twin", "135M"):
            assert (await engine.sample(request(small_pool[alias], tokens=2), Progress())).text
        together = [engine.metrics(model) is not None for model in small_pool.models]
        assert sum(together) == (2 if memory == 0.8 else 1)

    wait(in_turn())
    wait(engine.close())
    assert loads == loaded


@pytest.mark.model
def test_within_a_limit_requests_to_several_models_at_once_all_end_and_nothing_thrashes(
    small_pool: Pool, wait: Await, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads, engine = counted(monkeypatch), Engine("", within(small_pool, 0.5), seed=0)

    async def all_at_once() -> list[str | None]:
        asked = [request(small_pool[alias], seed=seed) for seed in range(5) for alias in ("135M", "twin")]
        return [g.text for g in await asyncio.gather(*(engine.sample(r, Progress()) for r in asked))]

    assert all(wait(all_at_once()))
    wait(engine.close())
    assert loads == ["135M", "twin"]


@pytest.mark.model
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_loaded_model_takes_no_more_than_was_estimated(smallest_model: Path) -> None:
    script = str(Path(__file__).with_name("resident.py"))
    done = subprocess.run([sys.executable, script, str(smallest_model)], capture_output=True, text=True, check=True)
    grown, estimate, left = json.loads(done.stdout)
    assert smallest_model.stat().st_size < grown <= estimate
    assert left < grown / 2


def test_errors_of_this_engine_are_escalades() -> None:
    assert issubclass(EngineError, EscaladeError)
    assert issubclass(WeightsError, EscaladeError)
