"""Run one benchmark: a module of this package with `main() -> list[Figure]`."""

from __future__ import annotations

import argparse
import importlib
import json
import pkgutil
import sys
from dataclasses import asdict

import benchmarks
from benchmarks import Figure


def names() -> list[str]:
    return sorted(info.name for info in pkgutil.iter_modules(benchmarks.__path__) if not info.name.startswith("_"))


def run(name: str) -> list[Figure]:
    figures: list[Figure] = importlib.import_module(f"benchmarks.{name}").main()
    return figures


def show(name: str, figures: list[Figure]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("figure", title=name)
    for column in ("ours", "peer", "ratio", "unit", "n"):
        table.add_column(column, justify="left" if column == "unit" else "right")
    for figure in figures:
        measured = ("" if x is None else f"{x:,.3g}" for x in (figure.ours, figure.peer, figure.ratio))
        table.add_row(figure.name, *measured, figure.unit, f"{figure.n:,}")
    Console().print(table)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=benchmarks.__doc__)
    parser.add_argument("name", nargs="?", help="without one, the names are listed")
    parser.add_argument("--json", action="store_true", help="one JSON object a figure")
    given = parser.parse_args()
    if given.name is None:
        print("\n".join(names()))
        return 0
    if given.name not in names():
        print(f"no benchmark {given.name!r}: there are {', '.join(names())}", file=sys.stderr)
        return 2
    figures = run(given.name)
    if given.json:
        for figure in figures:
            print(json.dumps(asdict(figure)))
    else:
        show(given.name, figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
