"""`escalade serve` and `escalade key` as a person types them; the models are behind a server that the tests start."""

import json
import signal
import socket
import sqlite3
import stat
import threading
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from escalade.engines.base import Request
from escalade.gateway.keys import digest
from escalade.gateway.server import listen
from escalade.policies import PolicyFile
from escalade.samples.sample import Generation
from escalade.testing import ScriptedEngine, pool_of
from tests.cli.conftest import Cli
from tests.gateway.command import Command, command
from tests.gateway.served import CHAT, asking, events_of, served_apart

CASCADE = "mv_cascade_S_k3_t0.7_L_k1_t0.0"


def unsure(request: Request) -> Generation:
    """S never says the same twice; behind a server all samples are the first of their request, and seeds differ."""
    answer = request.seed if request.model.alias == "S" else 391
    return Generation(f"\\boxed{{{answer}}}", prompt_tokens=10, completion_tokens=5)


class Upstream:
    """An OpenAI-compatible server with scripted models; it holds requests for as long as it is told."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.open.set()
        self.engine = ScriptedEngine(unsure, self._seconds)
        self.pool = pool_of("S", "L")

    def _seconds(self, request: Request) -> float:
        return 0.0 if self.open.is_set() else 600.0


@pytest.fixture
def upstream() -> Upstream:
    return Upstream()


@pytest.fixture
def address(upstream: Upstream) -> Iterator[str]:
    with served_apart(upstream.pool, upstream.engine) as url:
        yield url


def write_pool(folder: Path, url: str) -> Path:
    models = "".join(
        f'\n[[models]]\nalias = "{alias}"\nname = "test/{alias}"\nengine = "openai"\n'
        f'options = {{ base_url = "{url}/v1", logprobs = false }}\nprice = {{ input = 1, output = 1 }}\n'
        for alias in ("S", "L")
    )
    file = folder / "pool.toml"
    file.write_text(f'route = "{CASCADE}"\nprompt = "plain"\nmax_tokens = 50\n{models}', encoding="utf-8")
    return file


def post(server: Command, model: str, problem: str = "What is 17 times 23?", **more: Any) -> requests.Response:
    key = more.pop("key", None)
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    return requests.post(f"{server.url}{CHAT}", json=asking(model, problem, **more), headers=headers, timeout=60)


def until(true: Any, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


# -- keys -----------------------------------------------------------------------------------------------------


def test_a_key_is_printed_once_and_its_hash_is_kept(cli: Cli) -> None:
    said = cli("key", "alice", "--keys", "keys.toml", "--budget", "0.5", "--per", "month", "--concurrent", "2")
    assert said.code == 0
    secret = said.out.strip()
    text = Path("keys.toml").read_text(encoding="utf-8")
    assert secret not in text
    assert tomllib.loads(text)["keys"] == [
        {"name": "alice", "sha256": digest(secret), "budget_usd": "0.5", "per": "month", "concurrent": 2}
    ]
    assert stat.S_IMODE(Path("keys.toml").stat().st_mode) == 0o600
    again = cli("key", "alice", "--keys", "keys.toml")
    assert again.code == 2
    assert "there is a key of 'alice'" in again.err
    assert cli("key", "bob", "--keys", "keys.toml").code == 0
    assert len(tomllib.loads(Path("keys.toml").read_text(encoding="utf-8"))["keys"]) == 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["a b"], "key 'a b': name"),
        (["alice", "--budget", "much"], "--budget is 'much'"),
        (["alice", "--budget", "1", "--per", "week"], "per"),
    ],
)
def test_a_key_that_cannot_be_is_refused(cli: Cli, options: list[str], said: str) -> None:
    found = cli("key", *options)
    assert found.code == 2
    assert said in found.err
    assert not Path("keys.toml").exists()


# -- what does not start --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--host", "0.0.0.0"], "0.0.0.0 can be reached from other machines, and there are no keys"),
        (["--pool", "nope"], "no pool 'nope'"),
        (["--keys", "none.toml"], "keys none.toml cannot be read"),
        (["--policy", "none.toml"], "policy none.toml cannot be read"),
        (["--store", "s.sqlite", "--no-store"], "give --store or --no-store, not both"),
        (["--otlp", "nowhere"], "--otlp is 'nowhere': give an address"),
        (["--target", "1.5"], "target is 1.5"),
    ],
)
def test_what_cannot_be_served_is_said_and_nothing_listens(cli: Cli, options: list[str], said: str) -> None:
    found = cli("serve", *options)
    assert found.code == 2
    assert said in " ".join(found.err.split())


def test_a_port_that_is_taken(cli: Cli) -> None:
    with listen("127.0.0.1", 0) as socket:
        port = socket.getsockname()[1]
        found = cli("serve", "--port", port)
    assert found.code == 2
    assert f"cannot listen at 127.0.0.1:{port}" in found.err


# -- serving --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_what_is_served_answers_and_stops_when_told(address: str, tmp_path: Path, number: int) -> None:
    write_pool(tmp_path, address)
    PolicyFile(name="cheap", route="mv_S_k3_t0.7").write(tmp_path / "policy.toml")
    options = ["--pool", "pool.toml", "--policy", "policy.toml", "--log-json", "log.jsonl"]
    with command(tmp_path, *options) as server:
        said = server.said()
        assert f"auto is {CASCADE}" in said
        assert "policy cheap: mv_S_k3_t0.7" in said
        assert "samples and requests are kept in escalade.sqlite" in said
        reply = post(server, "auto").json()
        assert (reply["escalade"]["decided_by"], reply["escalade"]["answer"]) == ("L", "391")
        assert post(server, "cheap").json()["escalade"]["policy"] == "cheap"
        assert server.stop(number) == 0
    names = [json.loads(line)["event"] for line in (tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert (names[0], names[-1]) == ("serve", "end")
    assert names.count("request") == names.count("reply") == 2
    with sqlite3.connect(tmp_path / "escalade.sqlite") as db:
        assert db.execute("SELECT count(*), min(status) FROM requests").fetchone() == (2, "last_tier")


def test_a_client_that_goes_away_is_felt_at_the_engine_behind_the_gateway(
    upstream: Upstream, address: str, tmp_path: Path
) -> None:
    upstream.open.clear()
    write_pool(tmp_path, address)
    with command(tmp_path, "--pool", "pool.toml", "--no-store") as server:
        host, port = server.url.removeprefix("http://").split(":")
        body = json.dumps(asking("auto")).encode()
        head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        with socket.create_connection((host, int(port))) as client:
            client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            until(lambda: len(upstream.engine.requests) == 3)
        until(lambda: len(upstream.engine.cancelled) == 3)
        assert len(upstream.engine.requests) == 3
        until(lambda: not server.get("/live")["requests"])
        assert server.get("/live")["recent"][0]["status"] == "cancelled"


def test_an_engine_that_dies_in_the_middle_of_a_request_and_comes_back(upstream: Upstream, tmp_path: Path) -> None:
    with listen("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    write_pool(tmp_path, f"http://127.0.0.1:{port}")
    with command(tmp_path, "--pool", "pool.toml", "--no-store") as server:
        upstream.open.clear()
        replies: list[requests.Response] = []
        with served_apart(upstream.pool, upstream.engine, port=port):
            asked = threading.Thread(target=lambda: replies.append(post(server, "L")))
            asked.start()
            until(lambda: upstream.engine.requests)
        asked.join(60)
        assert replies[0].status_code == 503, replies[0].text
        assert int(replies[0].headers["retry-after"]) >= 1
        assert server.get("/health")["status"] == "ok"
        upstream.open.set()
        with served_apart(upstream.pool, upstream.engine, port=port):
            until(lambda: post(server, "L").status_code == 200, 40)


def test_a_budget_holds_over_kills(upstream: Upstream, address: str, tmp_path: Path, cli: Cli) -> None:
    write_pool(tmp_path, address)
    # What one request can cost at most is about 0.00014 USD, and it uses a fraction of it.
    secret = cli("key", "alice", "--keys", tmp_path / "keys.toml", "--budget", "0.0005", "--per", "ever").out.strip()
    options = ["--pool", "pool.toml", "--keys", "keys.toml", "--store", "s.sqlite"]
    with command(tmp_path, *options) as server:
        with_key = {"Authorization": f"Bearer {secret}"}
        spent = post(server, "S", "First?", key=secret).json()["escalade"]["new_cost_usd"]
        upstream.open.clear()

        def kill_once_it_is_under_way() -> None:
            until(lambda: len(upstream.engine.requests) == 2)
            server.process.kill()

        killer = threading.Thread(target=kill_once_it_is_under_way)
        killer.start()
        with pytest.raises(requests.ConnectionError):
            requests.post(f"{server.url}{CHAT}", json=asking("S", "Second?"), headers=with_key, timeout=60)
        killer.join()
    with sqlite3.connect(tmp_path / "s.sqlite") as db:
        rows = db.execute("SELECT status, cost_usd, reserved_usd FROM requests ORDER BY time").fetchall()
    assert [row[0] for row in rows] == ["last_tier", None]
    assert rows[0][1] == spent
    upstream.open.set()
    with command(tmp_path, *options) as server:
        codes = []
        for number in range(30):
            reply = post(server, "S", f"Number {number}?", key=secret)
            codes.append(reply.status_code)
            if reply.status_code != 200:
                assert reply.json()["error"]["code"] == "insufficient_quota"
                break
        assert codes[-1] == 429
        assert 0 < codes.count(200) < 30
    with sqlite3.connect(tmp_path / "s.sqlite") as db:
        rows = db.execute("SELECT coalesce(cost_usd, reserved_usd) FROM requests").fetchall()
    assert sum(float(row[0]) for row in rows) <= 0.0005


def test_two_servers_with_budgets_do_not_share_a_store(
    upstream: Upstream, address: str, tmp_path: Path, cli: Cli
) -> None:
    write_pool(tmp_path, address)
    cli("key", "alice", "--keys", tmp_path / "keys.toml", "--budget", "1")
    options = ["--pool", tmp_path / "pool.toml", "--keys", tmp_path / "keys.toml", "--store", tmp_path / "s.sqlite"]
    with command(tmp_path, *options):
        found = cli("serve", "--port", "0", *options)
    assert found.code == 2
    assert "another server keeps its budgets in" in found.err


def test_a_stream_through_two_gateways(address: str, tmp_path: Path) -> None:
    write_pool(tmp_path, address)
    with command(tmp_path, "--pool", "pool.toml", "--no-store", "--quiet") as server:
        reply = post(server, "auto", stream=True, stream_options={"include_usage": True})
        *chunks, usage, done = events_of(reply.text)
        text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
        assert (text, done) == (r"\boxed{391}", "[DONE]")
        assert usage["usage"]["completion_tokens"] > 0
        assert "POST" not in server.said()
