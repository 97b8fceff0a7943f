"""The public surface and the direction of imports: what others stand on changes on purpose only."""

import ast
from pathlib import Path

import pytest

import escalade

SOURCE = Path(escalade.__file__).parent
# The way of the data. A module imports only from its own room and from those above it.
ROOMS = [
    ["errors", "wording"],
    ["answers"],
    ["statistics"],
    ["complaints", "prices", "prompts", "pool"],
    ["routes"],
    ["samples"],
    ["problems", "scored_file", "scores", "score_files", "given_scores", "gates"],
    ["strategies"],
    ["routing"],
    ["cascade"],
    ["weights", "ledger", "limits", "scoring"],
    ["engines"],
    ["climb", "outset", "collector", "counters", "asking", "comparing", "lanes", "turns", "dispatch", "books"],
    ["executor", "serving"],
    ["job"],
    ["evaluation"],
    ["calibration"],
    ["policies"],
    ["probes"],
    ["comparison", "tuning"],
    ["summary", "tally", "dryrun"],
    ["rows", "streaming"],
    ["results", "eventlog"],
    ["running", "regrading", "receipts", "repricing", "report"],
    ["record", "published", "testing"],
    ["gateway"],
    ["cli"],
]
RANK = {name: rank for rank, room in enumerate(ROOMS) for name in room}


def rooms_imported(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "escalade":
            parts = node.module.split(".")
            found |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("escalade.")}
    return found


FILES = sorted(path for path in SOURCE.rglob("*.py") if path.parent != SOURCE or not path.stem.startswith("__"))


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_a_module_imports_only_from_rooms_above_it(path: Path) -> None:
    room = room_of(path)
    assert room in RANK, f"{room} has no place in the way of the data: give it one in this test and in the docs"
    below = {name for name in rooms_imported(path) if name in RANK and RANK[name] > RANK[room]}
    assert not below


def test_every_room_is_there() -> None:
    assert set(RANK) == {room_of(path) for path in FILES}


def test_public_surface() -> None:
    assert escalade.__all__ == [
        "EscaladeError",
        "Limits",
        "Policy",
        "Pool",
        "Problem",
        "Results",
        "Route",
        "Tier",
        "load_pool",
        "parse_route",
        "read_problems",
        "run",
        "strategy",
    ]
    assert all(getattr(escalade, name) is not None for name in escalade.__all__)
    assert set(escalade.__all__) <= set(dir(escalade))


def test_the_heart_touches_nothing_of_the_world() -> None:
    world = {"time", "random", "asyncio", "socket", "sqlite3", "os", "pathlib", "subprocess", "datetime", "secrets"}
    # Processes that can be killed, and files of one's own kinds of answers.
    worldly = {SOURCE / "answers" / name for name in ("symbolic.py", "worker.py", "custom.py")}
    for folder in ("cascade", "answers"):
        for path in set((SOURCE / folder).rglob("*.py")) - worldly:
            tree = ast.parse(path.read_text(encoding="utf-8"))
            names = {a.name.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
            names |= {(n.module or "").split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
            assert not names & world, path


def test_the_command_line_starts_without_heavy_libraries() -> None:
    import subprocess
    import sys

    heavy = ("pandas", "numpy", "pyarrow", "pydantic")
    code = f"import escalade.cli.app, sys; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
