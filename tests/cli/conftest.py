import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest

from escalade.cli import main


class Said(NamedTuple):
    code: int
    out: str
    err: str


Cli = Callable[..., Said]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cli:
    """Call the command line as a person would, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> Said:
        monkeypatch.setattr("sys.argv", ["escalade", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as ending:
            code = ending.code if isinstance(ending.code, int) else int(ending.code is not None)
        out, err = capsys.readouterr()
        return Said(code, out, err)

    return call


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Four problems by two models: S is sure and right, sure and wrong, torn, mute; L is right."""
    votes = {
        "p1": (["4"] * 5, ["4"] * 3),
        "p2": (["9"] * 5, ["7"] * 3),
        "p3": (["1", "2", "1", "2", "3"], ["5"] * 3),
        "p4": ([None] * 5, ["6", "6", "8"]),
    }
    gold = {"p1": "4", "p2": "7", "p3": "5", "p4": "6"}
    rows = [
        {
            "problem_id": ident,
            "problem": f"What is problem {ident}?",
            "gold_answer": gold[ident],
            "model": model,
            "temperature": 0.7,
            "sample_index": index,
            "answer": answer,
            "text": f"I say {answer}",
            "prompt_tokens": 20,
            "completion_tokens": 10,
            "mean_logprob": -0.5,
            "finish_reason": "stop",
        }
        for ident, both in votes.items()
        for model, answers in zip(("S", "L"), both, strict=True)
        for index, answer in enumerate(answers)
    ]
    path = tmp_path / "recorded.parquet"
    pd.DataFrame(rows).to_parquet(path)
    return path


@pytest.fixture
def pool_file(tmp_path: Path) -> Path:
    path = tmp_path / "escalade.toml"
    models = [
        '[[models]]\nalias = "S"\nname = "test/small"\nprice = { input = 0.1, output = 0.1 }\n',
        '[[models]]\nalias = "L"\nname = "test/large"\nprice = { input = 1, output = 1 }\n',
    ]
    path.write_text('name = "mine"\nroute = "mv_cascade_S_k5_t0.7_L_k3_t0.7"\n' + "\n".join(models), encoding="utf-8")
    return path


@pytest.fixture
def problems_file(tmp_path: Path) -> Path:
    path = tmp_path / "problems.jsonl"
    lines = [{"id": f"p{i}", "problem": f"What is problem p{i}?", "answer": str(i), "score_S": 0.5} for i in (1, 2)]
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return path
