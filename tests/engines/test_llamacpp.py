"""The real 135M through llama.cpp."""

import asyncio
import re
import sys
import threading
from pathlib import Path

import pytest

from escalade.engines import llamacpp as llama
from escalade.engines.base import Demand, Progress, Request
from escalade.engines.llamacpp import Engine
from escalade.errors import EngineError, EscaladeError, SettingError, WeightsError
from escalade.pool import Pool, PoolModel
from tests.engines.conftest import Await


def request(model: PoolModel, text: str = "Say hello.", *, tokens: int = 8, seed: int = 1) -> Request:
    return Request("p", [{"role": "user", "content": text}], model, 0.7, tokens, 0, seed)


def pool_of(**settings: object) -> Pool:
    model = PoolModel(alias="M", name="maker/M", **settings)  # type: ignore[arg-type]
    return Pool(name="mine", models=(model,))


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
    loads: list[str] = []
    load = llama._Model.__init__

    def counted(self: llama._Model, alias: str, path: Path, options: llama.Options) -> None:
        loads.append(alias)
        load(self, alias, path, options)

    monkeypatch.setattr(llama._Model, "__init__", counted)
    for _ in range(3):  # not loaded anew for every request
        with pytest.raises(EngineError, match=r"llama.cpp cannot load M from .*bad.gguf"):
            wait(engine.sample(request(pool["M"]), Progress()))
    assert loads == ["M"]
    wait(engine.close())


@pytest.mark.model
def test_p25_a_model_is_loaded_once_even_if_its_first_request_is_cancelled(
    small_pool: Pool, wait: Await, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[str] = []
    may_go_on = threading.Event()
    load = llama._Model.__init__

    def counted(self: llama._Model, alias: str, path: Path, options: llama.Options) -> None:
        loads.append(alias)
        may_go_on.wait(30)
        load(self, alias, path, options)

    monkeypatch.setattr(llama._Model, "__init__", counted)
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
    assert fine.text  # type: ignore[attr-defined]


@pytest.mark.model
def test_a_cancelled_generation_stops_in_the_server(llamacpp: Engine, small_pool: Pool, wait: Await) -> None:
    model = small_pool["135M"]

    async def cancelled() -> tuple[int, list[int]]:
        server = await llamacpp._model(model)

        def counter(name: str) -> int:
            (found,) = re.findall(rf"^llamacpp:{name} (\d+)", server.metrics(), re.MULTILINE)
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
    loads: list[str] = []
    load = llama._Model.__init__

    def counted(self: llama._Model, alias: str, path: Path, options: llama.Options) -> None:
        loads.append(alias)
        load(self, alias, path, options)

    monkeypatch.setattr(llama._Model, "__init__", counted)
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


def test_errors_of_this_engine_are_escalades() -> None:
    assert issubclass(EngineError, EscaladeError)
    assert issubclass(WeightsError, EscaladeError)
