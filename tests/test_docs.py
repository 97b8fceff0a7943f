"""What the pages show is run: commands with their output, pools, Python, examples, and the lists that must be whole."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

import escalade
import escalade.strategies.registry as catalogue
from escalade.answers import canonical
from escalade.cli import display
from escalade.cli.app import app
from escalade.pool import HubSource, PackageSource, Pool, PoolModel, Price, Prompt, UrlSource, load_pool
from escalade.routes import parse_route
from escalade.samples.recorded import shipped_recording
from escalade.samples.schema import SCHEMA

ROOT = Path(__file__).parents[1]
PAGES = [page for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))] if page.exists()]
FENCED = re.compile(r"(<!-- fails -->\n)?^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
TRIED = re.compile(r"\s*(?:\$ )?escalade (?:check|strategies)\b")
NEEDS_RECORDING = "the shipped recording (replay:shipped) is not there yet"


@dataclass(frozen=True)
class Block:
    """A block of a page."""

    page: Path
    line: int
    language: str
    text: str
    fails: bool = False

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks(*languages: str) -> list[Block]:
    found: list[Block] = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in FENCED.finditer(text):
            line = text.count("\n", 0, match.start(3))
            found.append(Block(page, line, match[2], match[3], match[1] is not None))
    return [block for block in found if block.language in languages]


def commands() -> Iterator[Block]:
    """Commands to try, each with the output that stands under it (none in `sh` and indented blocks)."""
    for block in blocks("console"):
        for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
            if TRIED.match(part):
                yield Block(block.page, block.line, "console", part, block.fails)
    for block in blocks("sh"):
        for line in filter(TRIED.match, block.text.splitlines()):
            yield Block(block.page, block.line, "sh", line, block.fails)
    for page in PAGES:
        for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
            if line.startswith("    ") and TRIED.match(line):
                yield Block(page, number, "sh", line)


def words(text: str) -> list[str]:
    return text.split()


@pytest.mark.parametrize("block", list(commands()), ids=str)
def test_a_command_does_what_the_page_shows(block: Block, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(display.console, "width", 140)
    command, _, shown = block.text.partition("\n")
    result = CliRunner().invoke(app, shlex.split(command, comments=True)[1:])
    assert (result.exit_code == 2) if block.fails else (result.exit_code == 0), result.output
    if block.language == "console":
        assert words(result.output) == words(shown)


@pytest.mark.parametrize("block", blocks("toml"), ids=str)
def test_a_pool_loads_and_runs_its_own_route(block: Block, tmp_path: Path) -> None:
    file = tmp_path / "escalade.toml"
    file.write_text(block.text, encoding="utf-8")
    pool = load_pool(file)
    if pool.route is not None:
        assert str(parse_route(pool.route, pool)) == pool.route


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_python_runs(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if "replay:shipped" in block.text and not shipped_recording().exists():
        pytest.skip(NEEDS_RECORDING)
    monkeypatch.chdir(tmp_path)
    exec(compile(block.text, str(block), "exec"), {"__name__": "page"})


def test_the_example_pool_loads() -> None:
    pool = load_pool(ROOT / "examples" / "escalade.toml")
    assert pool.route is not None
    assert parse_route(pool.route, pool).is_cascade
    assert all(model.file is not None and model.file.is_relative_to(ROOT / "examples") for model in pool.models)


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.name)
def test_an_example_runs(example: Path, tmp_path: Path) -> None:
    if not shipped_recording().exists():
        pytest.skip(NEEDS_RECORDING)
    source = str(Path(escalade.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, str(example)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": source},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert ('"answer"' if example.stem == "word_problems" else "accuracy") in done.stdout


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("part", [Pool, PoolModel, Price, Prompt, HubSource, PackageSource, UrlSource])
def test_every_key_of_a_pool_is_explained_and_shown(part: type[Pool]) -> None:
    text = page("routing-strings.md")
    shown = "".join(block.text for block in blocks("toml") if block.page.name == "routing-strings.md")
    for key in part.model_fields:
        assert f"`{key}`" in text, key
        assert re.search(rf"\b{key}\b", shown), key


def test_every_module_has_its_line() -> None:
    source = Path(escalade.__file__).parent
    text = page("architecture.md")
    there = {f.relative_to(source).as_posix() for f in source.rglob("*.py") if not f.stem.startswith("__")}
    # The catalogue is what has a path in the first column of the modules' table.
    listed = {
        name for row in re.findall(r"^\| (`[^|]*\.py`) \|", text, re.MULTILINE) for name in re.findall(r"`(.*?)`", row)
    }
    assert listed == there


def test_every_strategy_is_in_the_catalogue() -> None:
    text = page("decisions.md")
    for entry in catalogue.strategies():
        if not entry.rule.__module__.startswith("escalade."):
            continue  # of another test or page
        short = re.sub(r"^(always|mv_always|disagreement|mv_adaptive_escalation)(_.*)$", r"\2", entry.name)
        assert f"`{entry.name}`" in text or f"`{short}`" in text, entry.name


def test_the_table_of_equal_answers_is_that_of_the_code() -> None:
    rows = [line for line in (canonical.__doc__ or "").splitlines() if line.startswith("|")]
    assert "\n".join(rows) in page("decisions.md")


def test_every_column_is_explained() -> None:
    if not shipped_recording().exists():
        pytest.skip(NEEDS_RECORDING)
    results = escalade.run(engine="replay:shipped", limit=2)
    text = page("results.md")
    answers = results.to_pandas()
    summary = results.summary().to_dict()
    trace = answers["trace"][0][0]
    for name in [*answers, *results.samples(), *summary, *summary["tiers"][0], *trace, *trace["looks"][0]]:
        assert f"`{name}`" in text or name in ("position", "votes"), name


def test_every_column_of_the_store_is_explained() -> None:
    text = page("results.md")
    for name in re.findall(r"(?:^|, |\(\n)\s*([a-z_]+)(?= (?:TEXT|INTEGER|REAL)|,|\n)", SCHEMA):
        assert f"`{name}`" in text, name


def test_links_between_pages_lead_somewhere() -> None:
    for source in PAGES:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", source.read_text(encoding="utf-8")):
            assert (source.parent / target).exists(), f"{source.name} -> {target}"
