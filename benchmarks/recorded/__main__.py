"""Print the page of recorded results, or write it to docs/recorded-results.md."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import benchmarks.recorded as package
from benchmarks.recorded.page import page
from escalade.errors import InputError

PAGE = Path(__file__).parents[2] / "docs" / "recorded-results.md"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recorded", description=package.__doc__)
    parser.add_argument("data", nargs="?", help="the folder that holds pools/ and scored/; else that of ESCALADE_DATA")
    parser.add_argument("--write", action="store_true", help="write docs/recorded-results.md")
    given = parser.parse_args()
    data = given.data or os.environ.get("ESCALADE_DATA")
    if not data:
        parser.error("name the folder of recorded data, or set ESCALADE_DATA")
    try:
        text = page(Path(data))
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    if given.write:
        PAGE.write_text(text, encoding="utf-8")
    else:
        print(text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
