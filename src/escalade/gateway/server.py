"""The server: opens what a gateway needs, listens, and closes all of it again without losing anything."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn

from escalade.answers.grader import Grader
from escalade.engines.base import Demand, Engine
from escalade.errors import RequestError, SettingError
from escalade.gateway.accounts import PATIENCE, Accounts
from escalade.gateway.app import Application
from escalade.gateway.gateway import Bounds, Gateway, Watcher
from escalade.gateway.http import Protocol
from escalade.gateway.journal import Journal
from escalade.gateway.keys import Key
from escalade.gateway.live import Live
from escalade.gateway.menu import Menu
from escalade.gateway.metrics import Metrics
from escalade.job import Engines
from escalade.pool import Pool, PoolModel
from escalade.samples.store import Store
from escalade.samples.verdicts import Verdicts

IDLE_SECONDS = 5
"""For which a connection is kept after a reply."""
_FILES = 65_536
"""Connections and files that the process may have open, where the system lets it."""


@dataclass(frozen=True)
class Settings:
    """How a server runs.

    Raises:
        SettingError: the address is public and there are no keys, or a budget and a model without a price.
    """

    menu: Menu
    host: str = "127.0.0.1"
    port: int = 8000
    store: Path | None = None
    keys: Sequence[Key] = ()
    bounds: Bounds = field(default_factory=Bounds)
    body_bytes: int = 1024 * 1024
    keep_alive: float = 10.0
    grace: float = 10.0
    """Seconds that requests under way have when the server is told to stop."""

    def __post_init__(self) -> None:
        if not self.keys and not _loopback(self.host):
            raise SettingError(
                f"host {self.host} can be reached from other machines, and there are no keys: give --keys FILE "
                "(escalade key NAME --keys FILE makes one), or listen at 127.0.0.1"
            )
        capped = [key.name for key in self.keys if key.budget_usd is not None]
        unpriced = [model.alias for model in self.menu.pool.models if model.price is None]
        if capped and unpriced:
            raise SettingError(
                f"key {capped[0]!r} has a budget, but {', '.join(unpriced)} of pool {self.menu.pool.name!r} has no "
                "price: give the model a price in the pool file (0 is one), or take the budget out"
            )

    @property
    def url(self) -> str:
        """Where the server is, once its port is known."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; port 0 takes a free one.

    Raises:
        SettingError: the address is taken, or not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named, or asyncio would not send small replies at once.
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
        made.listen(2048)
    except (OSError, OverflowError) as error:
        made.close()
        raise SettingError(f"cannot listen at {host}:{port}: {error}; give another --host or --port") from error
    return made


async def serve(
    settings: Settings,
    socket_: socket.socket,
    *,
    journal: Journal,
    engine_of: Callable[[PoolModel], Engine] | None = None,
    watchers: Sequence[Watcher] = (),
    on_ready: Callable[[], None] = lambda: None,
    stop: asyncio.Event | None = None,
) -> None:
    """Serve until the process is told to stop (SIGINT, SIGTERM), or an event is set.

    Args:
        settings: of the server.
        socket_: of `listen`.
        journal: what is logged.
        engine_of: engines that are open already, and are left open; None opens the pool's.
        watchers: are told of requests, besides.
        on_ready: called once requests are taken.
        stop: ends it as a signal does.

    Raises:
        InputError, WeightsError: an engine refuses a model of the pool.
        StoreError: the store cannot be opened.
    """
    menu = settings.menu
    _allow_many_files()
    async with contextlib.AsyncExitStack() as stack:
        if engine_of is None:
            engines = Engines(menu.pool, None, menu.seed)
            stack.push_async_callback(engines.close)
            engine_of = engines.of
        check(engine_of, menu.pool)
        store = verdicts = None
        if settings.store is not None:
            store = stack.enter_context(Store(settings.store, patience=PATIENCE))
            verdicts = Verdicts(settings.store)
            stack.callback(verdicts.close)
        loop = asyncio.get_running_loop()
        alone = any(key.budget_usd is not None for key in settings.keys)
        accounts = Accounts(settings.store, alone=alone, clock=loop.time)
        stack.callback(accounts.close)
        live, metrics = Live(), Metrics()
        gateway = Gateway(
            menu,
            engine_of,
            store=store,
            accounts=accounts,
            bounds=settings.bounds,
            watchers=(live, metrics, journal, *watchers),
            grader=Grader(verdicts),
        )
        application = Application(
            gateway,
            live=live,
            metrics=metrics,
            keys=settings.keys,
            host=settings.host,
            body_bytes=settings.body_bytes,
            keep_alive=settings.keep_alive,
            log=journal,
        )
        await _run(gateway, application, socket_, settings.grace, on_ready, stop or asyncio.Event())


async def _run(
    gateway: Gateway,
    application: Application,
    socket_: socket.socket,
    grace: float,
    on_ready: Callable[[], None],
    stop: asyncio.Event,
) -> None:
    loop = asyncio.get_running_loop()
    server = _Server(
        uvicorn.Config(
            application,
            http=Protocol,
            ws="none",
            lifespan="off",
            interface="asgi3",
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=IDLE_SECONDS,
            timeout_graceful_shutdown=1,
            backlog=2048,
        )
    )
    # Elsewhere than in the main thread the process's signals are somebody else's.
    told = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    for number in told:
        loop.add_signal_handler(number, stop.set)
    service = loop.create_task(gateway.service.serve())
    service.add_done_callback(lambda _: stop.set())
    stopping = loop.create_task(_stop(gateway, server, grace, stop))
    try:
        listening = loop.create_task(server.serve(sockets=[socket_]))
        while not server.started and not listening.done():
            await asyncio.sleep(0.01)
        on_ready()
        await listening
    finally:
        for number in told:
            loop.remove_signal_handler(number)
        service.cancel()
        stopping.cancel()
        await asyncio.wait([service, stopping])
    if not service.cancelled() and (error := service.exception()) is not None:
        raise error


async def _stop(gateway: Gateway, server: uvicorn.Server, grace: float, stop: asyncio.Event) -> None:
    """Once told to: take no more requests, let those under way end, and leave what is not done by then."""
    await stop.wait()
    gateway.closing = True
    until = asyncio.get_running_loop().time() + grace
    while gateway.live and asyncio.get_running_loop().time() < until:
        await asyncio.sleep(0.05)
    for exchange in list(gateway.live.values()):
        if not exchange.answered.done():
            exchange.answered.set_exception(
                RequestError("the server stops", status=503, code="stopping", retry_after=5)
            )
        gateway.leave(exchange)
    await asyncio.sleep(0.1)
    server.should_exit = True


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are seen to by whoever runs the server."""
        yield


def check(engine_of: Callable[[PoolModel], Engine], pool: Pool) -> None:
    """Have every engine refuse now what of the pool it cannot give: weights or keys that are not there.

    Raises:
        InputError, WeightsError: it cannot.
    """
    for model in pool.models:
        temperatures = model.options.get("temperatures") or [0.0]
        engine_of(model).check([Demand(model, float(temperatures[0]), 1, [])])


def _loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _allow_many_files() -> None:
    """Every connection is an open file, and a shell's limit is often 1024."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
