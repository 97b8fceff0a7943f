"""Fourteen checks of the parser of cascade markers; needs neither pytest nor data.

python router_code/test_cascade_parser_standalone.py
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

if not __package__:  # run as a script: the checkout's root is not on the path
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from escalade.errors import RouteError
from router_code.execute_strategies import is_cascade_marker, parse_cascade_marker

Parse = Callable[[str], list[tuple[str, int, float]]]
Detect = Callable[[str], bool]

SMALL, MEDIUM, LARGE = (f"Qwen/Qwen2.5-Math-{size}-Instruct" for size in ("1.5B", "7B", "72B"))
FULL = "mv_cascade_1.5B_k4_t0.7_7B_k4_t0.7_72B_k1_t0.0"
ENTROPY = "mv_entropy_cascade_1.5B_k4_t0.7_7B_k4_t0.7_72B_k1_t0.0"
COST_AWARE = "mv_cascade_7B_k5_t0.7_72B_k1_t0.0"
TIERS = [(SMALL, 4, 0.7), (MEDIUM, 4, 0.7), (LARGE, 1, 0.0)]


def refuses(parse: Parse, marker: str, offending: str) -> bool:
    """Whether a marker is refused at the place where it goes wrong."""
    try:
        parse(marker)
    except RouteError as error:
        return error.offending == offending and marker[error.position :].startswith(offending)
    return False


def checks(parse: Parse, detect: Detect) -> list[tuple[str, Callable[[], bool]]]:
    """Return what is checked, by name."""
    return [
        ("detection: a cascade", lambda: detect(FULL)),
        ("detection: an entropy cascade", lambda: detect(ENTROPY)),
        ("detection: a cost-aware cascade, which skips 1.5B", lambda: detect(COST_AWARE)),
        ("detection: a simple vote is none", lambda: not detect("mv_1.5B_k8_t0.7")),
        ("detection: a full model name is none", lambda: not detect(MEDIUM)),
        ("detection: is by grammar, not by substring", lambda: not detect("my_mv_cascade_model")),
        ("parsing: three tiers", lambda: parse(FULL) == TIERS),
        ("parsing: the entropy prefix changes no tier", lambda: parse(ENTROPY) == TIERS),
        ("parsing: two tiers, 1.5B skipped", lambda: parse(COST_AWARE) == [(MEDIUM, 5, 0.7), (LARGE, 1, 0.0)]),
        (
            "parsing: no cascade gives no tiers",
            lambda: [parse(text) for text in ("mv_1.5B_k8_t0.7", SMALL, "my_mv_cascade_model", "")] == [[]] * 4,
        ),
        (
            "tiers: k is an integer, the temperature a float",
            lambda: [(type(k), type(t)) for _, k, t in parse("mv_cascade_7B_k12_t1_72B_k1_t0")] == [(int, float)] * 2,
        ),
        (
            "refusal: an unknown model is named, no tier vanishes",
            lambda: refuses(parse, "mv_cascade_1.5B_k4_t0.7_14B_k4_t0.7_72B_k1_t0.0", "14B"),
        ),
        (
            "refusal: a tier without temperature",
            lambda: refuses(parse, "mv_cascade_1.5B_k4_7B_k4_t0.7", "7B"),
        ),
        (
            "refusal: k0, k-4, t-0.7, t1e-1, t0.7.1, and entropy without cascade",
            lambda: (
                all(
                    refuses(parse, f"mv_cascade_7B_{k}_{t}", wrong)
                    for k, t, wrong in (
                        ("k0", "t0.7", "k0"),
                        ("k-4", "t0.7", "k-4"),
                        ("k4", "t-0.7", "t-0.7"),
                        ("k4", "t1e-1", "t1e-1"),
                        ("k4", "t0.7.1", "t0.7.1"),
                    )
                )
                and refuses(parse, "mv_entropy_1.5B_k4_t0.7", "1.5B_k4_t0.7")
            ),
        ),
    ]


def main(parse: Parse = parse_cascade_marker, detect: Detect = is_cascade_marker) -> int:
    """Check, say what came of each check, and return the exit code."""
    passed = 0
    todo = checks(parse, detect)
    for name, check in todo:
        try:
            good = check()
        except Exception as error:  # a parser that raises has failed this check; the others are still made
            good, name = False, f"{name} ({type(error).__name__}: {error})"
        passed += good
        print(f"{'ok  ' if good else 'FAIL'} {name}")
    if passed < len(todo):
        print(f"TESTS FAILED ({passed}/{len(todo)} passed)")
        return 1
    print(f"ALL TESTS PASSED ({passed}/{len(todo)})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
