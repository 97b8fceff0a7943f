"""A server, seen from the command line."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from escalade import __version__
from escalade.cli import display
from escalade.errors import SettingError
from escalade.eventlog import EventLog
from escalade.policies import read_policy
from escalade.pool import load_pool

try:
    from escalade.gateway.gateway import Bounds, Watcher
    from escalade.gateway.journal import Journal, to_stderr
    from escalade.gateway.keys import read_keys
    from escalade.gateway.menu import Menu
    from escalade.gateway.scoring import scorer_of
    from escalade.gateway.server import Settings, listen, serve
except ModuleNotFoundError as error:
    raise SettingError(f"the gateway needs {error.name}: pip install 'escalade[gateway]'") from error


def new_loop() -> asyncio.AbstractEventLoop:
    """Return a fast event loop, where there is one: not on Windows."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def run(
    pool: str,
    *,
    policies: Sequence[Path],
    probes: Sequence[Path],
    store: Path | None,
    target: float,
    seed: int,
    host: str,
    port: int,
    keys: Path | None,
    keep_alive: float,
    grace: float,
    log_file: Path | None,
    log_prompts: bool,
    quiet: bool,
    otlp: str | None,
    max_requests: int,
    max_body_bytes: int,
    max_prompt_bytes: int,
    max_samples: int,
    max_seconds: float,
) -> None:
    """Serve until Ctrl-C or SIGTERM.

    Raises:
        EscaladeError: something given cannot be used; nothing listens then.
    """
    models = load_pool(pool)
    scorer = scorer_of(probes, models) if probes else None
    settings = Settings(
        Menu(models, [read_policy(path) for path in policies], target, seed, scorer),
        host=host,
        port=port,
        store=store,
        keys=() if keys is None else read_keys(keys),
        bounds=Bounds(max_requests, max_prompt_bytes, max_seconds, max_samples),
        body_bytes=max_body_bytes,
        keep_alive=keep_alive,
        grace=grace,
    )
    with ExitStack() as stack:
        watchers: list[Watcher] = []
        if otlp is not None:
            from escalade.gateway.tracing import Tracing

            watchers.append(stack.enter_context(Tracing(otlp)))
        log = None if log_file is None else stack.enter_context(EventLog(log_file))
        socket = stack.enter_context(listen(host, port))
        settings = replace(settings, port=socket.getsockname()[1])
        journal = Journal(log, prompts=log_prompts, lines=None if quiet else to_stderr)
        if log is not None:
            log("serve", {"version": __version__, "pool": models.name, "url": settings.url})

        def ready() -> None:
            _introduce(settings)

        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(serve(settings, socket, journal=journal, watchers=watchers, on_ready=ready))
        if log is not None:
            log("end", {"reason": "stopped"})


def _introduce(settings: Settings) -> None:
    """Say what is served where, and how it is asked first."""
    menu, url = settings.menu, settings.url
    say = display.aside.print
    route = menu.pool.route or menu.pool.aliases[0]
    model = "auto" if menu.pool.route is not None else route
    say(
        f"escalade {__version__} serves pool {menu.pool.name} ({', '.join(menu.pool.aliases)}) at {url}/v1",
        markup=False,
    )
    if menu.pool.route is not None:
        say(f"  auto is {menu.pool.route}; any other routing string is a model name, too", markup=False, soft_wrap=True)
    for dish in menu.dishes.values():
        say(f"  policy {dish.name}: {dish.route}", markup=False, soft_wrap=True)
        for mismatch in dish.mismatches:
            say(f"  warning: {dish.name}: {mismatch}", style="yellow", markup=False, soft_wrap=True)
    kept = "nothing is kept" if settings.store is None else f"samples and requests are kept in {settings.store}"
    who = f"{len(settings.keys)} keys" if settings.keys else "no keys, for this machine only"
    say(f"  page {url}/  ·  {kept}  ·  {who}  ·  Ctrl-C stops", markup=False, soft_wrap=True)
    key = ' -H "Authorization: Bearer $KEY"' if settings.keys else ""
    body = f'{{"model": "{model}", "messages": [{{"role": "user", "content": "What is 17 times 23?"}}]}}'
    say(
        f"  curl {url}/v1/chat/completions -H 'Content-Type: application/json'{key} -d '{body}'",
        markup=False,
        soft_wrap=True,
    )
