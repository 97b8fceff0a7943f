"""The command `escalade serve` in a process of its own, as a person starts it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass
class Command:
    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self.url}{path}", timeout=30) as reply:
            return json.load(reply)

    def said(self) -> str:
        return self.log.read_text(encoding="utf-8")

    def stop(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(60)


def _as_from_a_terminal() -> None:
    # A background job of a shell ignores these, and its children with it.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


@contextmanager
def command(folder: Path, *options: object) -> Iterator[Command]:
    """The server at a free port, until the block ends; its samples go where `options` say."""
    log = folder / "serve.log"
    line = [sys.executable, "-m", "escalade", "serve", "--port", "0", *map(str, options)]
    with log.open("wb") as out:
        process = subprocess.Popen(
            line,
            cwd=folder,
            stdout=out,
            stderr=out,
            preexec_fn=_as_from_a_terminal,
            env={**os.environ, "COLUMNS": "200"},
        )
    found = None
    try:
        until = time.monotonic() + 60
        while found is None:
            assert process.poll() is None, log.read_text(encoding="utf-8")
            assert time.monotonic() < until, log.read_text(encoding="utf-8")
            found = re.search(r"page (http://[0-9.:\[\]]+)/", log.read_text(encoding="utf-8"))
            time.sleep(0.05)
        served = Command(found[1], process, log)
        yield served
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(30)
