import subprocess
import sys
from pathlib import Path

import pytest

from router_code import test_cascade_parser_standalone as standalone
from router_code.execute_strategies import is_cascade_marker, parse_cascade_marker

ROOT = Path(__file__).parents[2]


def test_the_published_command_passes_fourteen_checks() -> None:
    command = [sys.executable, "router_code/test_cascade_parser_standalone.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    lines = done.stdout.splitlines()
    assert (done.returncode, lines[-1], done.stderr) == (0, "ALL TESTS PASSED (14/14)", "")
    assert len(lines) == 15 and all(line.startswith("ok ") for line in lines[:14])


def keeps_known_models_only(marker: str) -> list[tuple[str, int, float]]:
    return parse_cascade_marker(marker.replace("_14B_k4_t0.7", ""))


def never_refuses(marker: str) -> list[tuple[str, int, float]]:
    try:
        return parse_cascade_marker(marker)
    except Exception:
        return []


def float_k(marker: str) -> list[tuple[str, int, float]]:
    return [(model, float(k), t) for model, k, t in parse_cascade_marker(marker)]  # type: ignore[misc]


def raises(marker: str) -> list[tuple[str, int, float]]:
    raise ValueError(marker)


@pytest.mark.parametrize("parse", [keeps_known_models_only, never_refuses, float_k, raises, lambda marker: []])
def test_it_fails_when_the_parser_is_wrong(parse: standalone.Parse, capsys: pytest.CaptureFixture[str]) -> None:
    assert standalone.main(parse) == 1
    assert "FAIL" in (out := capsys.readouterr().out) and "PASSED" not in out


@pytest.mark.parametrize("detect", [lambda text: True, lambda text: False, lambda text: "cascade" in text])
def test_it_fails_when_detection_is_wrong(detect: standalone.Detect, capsys: pytest.CaptureFixture[str]) -> None:
    assert standalone.main(parse_cascade_marker, detect) == 1
    assert standalone.main(parse_cascade_marker, is_cascade_marker) == 0
    capsys.readouterr()
