import json
import math
import os
import shutil
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
import pytest

from escalade.engines.base import Engine, Request
from escalade.errors import RouteError, ScoreError, SettingError, StrategyError, TableError
from escalade.routing import expand, read_routing
from escalade.samples.sample import Generation
from escalade.strategies import strategies
from escalade.testing import ScriptedEngine, answering
from router_code.execute_strategies import (
    execute_routing_strategies,
    is_cascade_marker,
    main,
    parse_cascade_marker,
    run_routed_vllm_inference,
)

ROOT = Path(__file__).parents[2]
RECORDED = Path(os.environ.get("ESCALADE_DATA", ROOT.parent / "shared" / "data")) / "scored"
NAME = "Qwen/Qwen2.5-Math-{}-Instruct"
PROBE = "gneubig_aime-1983-2024"
MATH = "DigitalLearningGmbH_MATH-lighteval"
FULL = "mv_cascade_1.5B_k4_t0.7_7B_k4_t0.7_72B_k1_t0.0"
P10 = {"1.5B": ["9", "9", "9", "8"], "7B": ["9", "7", "7", "9"], "72B": ["7"]}
recorded = pytest.mark.skipif(not RECORDED.is_dir(), reason=f"needs the recorded scores in {RECORDED}")


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """P24: nothing here may reach for a network."""

    def refuse(*_: Any) -> None:
        raise AssertionError("a network connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A small copy of the published layout."""
    for dataset in ("openai_gsm8k", "opencompass_AIME2025"):
        for size, shift in (("1.5B", 0.0), ("7B", 0.1)):
            folder = (
                tmp_path / f"data/{PROBE}_probe/{dataset}/Qwen-Qwen2.5-Math-{size}-Instruct_maxlen_3000_k_1_temp_0.0"
            )
            folder.mkdir(parents=True)
            rows = range(12)
            pd.DataFrame(
                {
                    "idx": rows,
                    "problem": [f"{dataset} {row}" for row in rows],
                    "score": [row / 13 + shift for row in rows],
                    "original_solution": [f"so it is #### {row % 3}" for row in rows],
                }
            ).to_parquet(folder / "scored.parquet")
    return tmp_path / "data"


def table(*routes: str, **columns: Any) -> pd.DataFrame:
    rows = range(len(routes))
    base = {"idx": rows, "problem": [f"p{row}" for row in rows], "original_solution": "7", "route_to": routes}
    return pd.DataFrame(base | columns)


def scripted(answers: Any = P10, **settings: Any) -> ScriptedEngine:
    return ScriptedEngine(answering(answers), **settings)


# -- the parser --------------------------------------------------------------------------------------------------


def test_the_door_is_light() -> None:
    code = "import sys, router_code.execute_strategies as e; e.parse_cascade_marker(''); print('pandas' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout == "False\n", done.stderr


def test_markers() -> None:
    tiers = [(NAME.format("1.5B"), 4, 0.7), (NAME.format("7B"), 4, 0.7), (NAME.format("72B"), 1, 0.0)]
    assert parse_cascade_marker(FULL) == tiers and is_cascade_marker(FULL)
    for text in ("mv_7B_k8_t0.7", "7B", "acme/llm_mv_v2", "my_mv_cascade_model", "", "mv_cascader_k1_t0"):
        assert parse_cascade_marker(text) == [] and not is_cascade_marker(text)
    for text in ("mv_entropy_1.5B_k4_t0.7", "mv_cascade_", "mv_cascade", FULL + "_x", FULL.replace("7B", "14B")):
        with pytest.raises(RouteError):
            parse_cascade_marker(text)


# -- all strategies on several data sets ---------------------------------------------------------------------------


def dry(data: Path, save: Path, *more: str) -> int:
    return main(["--dry-run", "--data-path", str(data), "--save-dir", str(save), "--probing-dataset", PROBE, *more])


def test_dry_run_writes_every_strategy_and_shows_where_problems_go(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dry(data, tmp_path / "out", "--datasets", "openai/gsm8k", "opencompass_AIME2025") == 0
    for dataset in ("openai_gsm8k", "opencompass_AIME2025"):
        for strategy in strategies():
            folder = tmp_path / f"out/{PROBE}_probe/{dataset}_routed"
            routes = read_routing(folder / f"routing_{strategy.name}_conf0.9.parquet")
            assert (routes["is_cascade"] == routes["cascade_tiers"].notna()).all() and len(routes) == 12
            assert not list(folder.glob("answered*"))
    out = capsys.readouterr().out
    assert "entropy cascade" in out and "1-8" in out and "FAILED" not in out
    # P9: what the pool changed is said.
    assert "72B is greedy only in this pool: k=8 t=0.7 runs as k=1 t=0.0 (12 rows): mv_always_72B" in out


def test_a_data_set_without_scores_is_named_and_the_others_go_on(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dry(data, tmp_path / "out", "--datasets", MATH, "openai_gsm8k", "--strategies", "cascade") == 2
    told = capsys.readouterr()
    assert f"not done: {MATH}: no folder {data / f'{PROBE}_probe' / MATH}" in told.err
    assert "scored openai_gsm8k, opencompass_AIME2025" in told.err
    assert (tmp_path / f"out/{PROBE}_probe/openai_gsm8k_routed/routing_cascade_conf0.9.parquet").is_file()


def test_scores_of_another_sampling_are_found_and_of_two_one_is_named(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = data / f"{PROBE}_probe" / "openai_gsm8k"
    for place in list(folder.iterdir()):
        place.rename(folder / place.name.replace("_k_1_temp_0.0", "_k_8_temp_0.7"))
    asked = ("--datasets", "openai_gsm8k", "--strategies", "cascade")
    assert dry(data, tmp_path / "out", *asked) == 0
    place = next(folder.glob("*1.5B*"))
    shutil.copytree(place, folder / place.name.replace("_k_8_", "_k_5_"))
    assert dry(data, tmp_path / "out", *asked) == 2
    assert "2 folders hold scores of 1.5B" in capsys.readouterr().err
    assert dry(data, tmp_path / "out", *asked, "--probe-k", "8", "--probe-temp", "0.7") == 0


def test_default_places(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ESCALADE_DATA", raising=False)
    assert main(["--dry-run", "--probing-dataset", PROBE, "--strategies", "cascade", "--target-conf", "0.8"]) == 0
    written = sorted(path.name for path in tmp_path.glob("runs/*/*/*"))
    assert written == ["routing_cascade_conf0.8.parquet"] * 2
    monkeypatch.chdir(data)
    with pytest.raises(ScoreError, match=r"no folder of scores.*absent.*--data-path"):
        execute_routing_strategies(dry_run=True)
    assert main(["--dry-run"]) == 2


def test_wrong_settings_end_the_command_at_once(data: Path, tmp_path: Path) -> None:
    assert dry(data, tmp_path, "--strategies", "cascde") == 2
    for error, settings in (
        (StrategyError, {"strategies": ["cascde"]}),
        (SettingError, {"target_confidence": 1.5}),
        (SettingError, {"limit": 0}),
    ):
        with pytest.raises(error):
            execute_routing_strategies(None, PROBE, dry_run=True, data_path=data, save_base_dir=tmp_path, **settings)  # type: ignore[arg-type]


def test_p6_a_bad_route_is_an_error_of_its_row(data: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.py"
    own.write_text("def mixed(inputs):\n    return ['7B', 'mv_entropy_1.5B_k4_t0.7'] * (inputs.rows // 2)\n")
    runs = execute_routing_strategies(
        ["openai_gsm8k"],
        PROBE,
        data_path=data,
        save_base_dir=tmp_path / "out",
        strategies=[f"{own}:mixed", "always_7B"],
        engine=scripted(),
    )
    answered = runs["openai_gsm8k"]["mixed"]
    assert answered["status"].tolist() == ["last_tier", "error"] * 6
    assert answered["response_error"].notna().tolist() == [False, True] * 6
    assert "position 11" in answered["response_error"][1]
    assert (runs["openai_gsm8k"]["always_7B"]["status"] == "last_tier").all()
    assert len(runs.failures) == 1 and "6 of 12 rows" in runs.failures[0]


def test_a_run_answers_every_strategy_from_one_store(data: Path, tmp_path: Path) -> None:
    engine = scripted()
    place = {"data_path": data, "save_base_dir": tmp_path / "out", "engine": engine, "limit": 3}
    runs = execute_routing_strategies(["openai_gsm8k"], PROBE, **place)  # type: ignore[arg-type]
    assert not runs.failures and {len(t) for tables in runs.values() for t in tables.values()} == {3}
    path = tmp_path / f"out/{PROBE}_probe/openai_gsm8k_routed/answered_adaptive_k_sampling_conf0.9.parquet"
    answered = pd.read_parquet(path)
    published = """idx problem original_solution score_1.5B score_7B route_to is_mv is_cascade cascade_tiers
        sc_n sc_temp routed_response_text response_model majority_vote_extracted_answer majority_vote_is_correct
        passk_score final_confidence tiers_executed escalation_path tier_confidences cost_per_tier total_cost_usd
        generated_solutions status decided_by notes"""
    assert set(published.split()) <= set(answered) and len(answered) == 3
    assert json.loads(answered["generated_solutions"][0]) == ["\\boxed{7}"]
    # Strategies that want the same samples share them, and a second run draws nothing.
    drawn = Counter((r.model.alias, r.messages[-1]["content"], r.temperature, r.index) for r in engine.requests)
    assert max(drawn.values()) == 1
    before = len(engine.requests)
    again = execute_routing_strategies(["openai_gsm8k"], PROBE, **place)  # type: ignore[arg-type]
    assert len(engine.requests) == before
    for dataset, tables in runs.items():
        for name, first in tables.items():
            pd.testing.assert_frame_equal(first, again[dataset][name])


def test_p15_the_target_reaches_rules_and_decisions(data: Path, tmp_path: Path) -> None:
    def climbed(target: float) -> tuple[int, int]:
        runs = execute_routing_strategies(
            ["openai_gsm8k"],
            PROBE,
            target_confidence=target,
            data_path=data,
            save_base_dir=tmp_path / "out",
            strategies=["cascade", "adaptive_k_sampling"],
            engine=scripted({"1.5B": ["1", "1", "1", "2"], "7B": ["1"], "72B": ["1"]}),
        )["openai_gsm8k"]
        large = (runs["cascade"]["route_to"] == NAME.format("72B")).sum()
        return int(large), int(runs["adaptive_k_sampling"]["tiers_executed"].sum())

    low, high = climbed(0.5), climbed(0.99)
    assert low[0] < high[0] and low[1] < high[1]
    assert len(list(tmp_path.glob("out/*/*/answered_cascade_conf0.*.parquet"))) == 2


class Loading:
    """Counts how often a model would be loaded: once per session and model."""

    loads: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        self._inner, self._loaded = scripted(), set[str]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def sample(self, request: Request, progress: Any) -> Generation:
        if request.model.alias not in self._loaded:
            self._loaded.add(request.model.alias)
            self.loads[request.model.alias] += 1
        return await self._inner.sample(request, progress)


def test_p25_each_model_is_loaded_once(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Engine] = []

    def open_engine(spec: str, pool: Any, *, seed: int) -> Any:
        opened.append(Loading())  # type: ignore[arg-type]
        return opened[-1]

    monkeypatch.setattr("escalade.job.open_engine", open_engine)
    Loading.loads.clear()
    names = ["always_72B", "mv_always_7B", "adaptive_k_sampling", "adaptive_k_sampling_with_entropy_escalation"]
    runs = execute_routing_strategies(
        None, PROBE, data_path=data, save_base_dir=tmp_path / "out", engine="counted", strategies=names
    )
    assert [list(tables) for tables in runs.values()] == [names, names]
    assert len(opened) == 1 and Loading.loads == {"1.5B": 1, "7B": 1, "72B": 1}


@recorded
def test_the_published_command_verbatim(tmp_path: Path) -> None:
    command = [sys.executable, "router_code/execute_strategies.py", "--dry-run", "--probing-dataset", PROBE]
    place = ["--data-path", str(RECORDED), "--save-dir", str(tmp_path)]
    done = subprocess.run(
        [*command, "--datasets", "openai_gsm8k", MATH, *place], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 2, done.stderr
    assert "openai_gsm8k: 1319 problems, scores of 1.5B, 7B" in done.stdout
    assert "cascade_tiers: filled in all 1568 rows" in done.stdout
    files = list(tmp_path.glob(f"{PROBE}_probe/openai_gsm8k_routed/routing_*_conf0.9.parquet"))
    assert len(files) == len(strategies())
    assert "Traceback" not in done.stderr and "Warning" not in done.stderr
    assert f"{MATH} was scored by the probe of {MATH}" in done.stderr


@recorded
def test_recorded_scores_of_the_math_probe(tmp_path: Path) -> None:
    runs = execute_routing_strategies(
        None, MATH, data_path=RECORDED, save_base_dir=tmp_path, dry_run=True, strategies=["adaptive_k_sampling"]
    )
    rows = {dataset: len(tables["adaptive_k_sampling"]) for dataset, tables in runs.items()}
    assert rows == {MATH: 5000, "openai_gsm8k": 1319, "opencompass_AIME2025": 15} and not runs.failures


# -- a routed table ----------------------------------------------------------------------------------------------


def test_how_a_row_says_it_is_to_be_answered() -> None:
    tiers = [None, None, json.dumps([[NAME.format("7B"), 4, 0.7], ["72B", 1, 0]]), None, None, None]
    route = [None, None, None, "mv_entropy_cascade_7B_k4_t0.7_72B_k1_t0.0", None, None]
    df = table(
        FULL, "mv_1.5B_k4_t0.7", NAME.format("7B"), NAME.format("7B"), NAME.format("7B"), "1.5B",
        cascade_tiers=tiers, route=route, sc_n=[1, 1, 4, 4, 4, math.nan], sc_temp=[0, 0, 0.7, 0.7, 0.7, math.nan],
    )  # fmt: skip
    out = run_routed_vllm_inference(df, engine=scripted())
    assert out["escalation_path"].tolist() == [
        ["1.5B", "7B", "72B"], ["1.5B"], ["7B", "72B"], ["7B", "72B"], ["7B"], ["1.5B"]
    ]  # fmt: skip
    # The entropy rule explored before it escalated; P10: the strongest tier owns the answer.
    assert [len(c) for c in out["tier_confidences"]] == [3, 1, 2, 2, 1, 1]
    assert out["majority_vote_extracted_answer"].tolist() == ["7", "9", "7", "7", "7", "9"]
    assert out["response_model"].tolist() == [NAME.format(m) for m in ("72B", "1.5B", "72B", "72B", "7B", "1.5B")]
    assert [len(json.loads(texts)) for texts in out["generated_solutions"]] == [1, 4, 1, 1, 4, 1]
    assert out["tiers_executed"].dtype == "int64" and out["response_error"].isna().all()


def test_index_and_other_columns_stay_and_the_input_is_untouched() -> None:
    df = table("7B", "7B", mine=[1.5, 2.5]).set_axis(["a", "a"])
    before = df.copy()
    out = run_routed_vllm_inference(df, engine=scripted())
    pd.testing.assert_frame_equal(df, before)
    pd.testing.assert_frame_equal(out[list(df)], before)
    assert out["routed_response_text"].tolist() == ["\\boxed{9}"] * 2


def test_missing_cells_of_any_kind_are_missing() -> None:
    df = table("mv_1.5B_k4_t0.7", "7B", "7B", sc_n=[4, None, 4], sc_temp=[0.7, None, 0.7], score_7B=[None, 0.5, None])
    plain = run_routed_vllm_inference(df, engine=scripted())
    nullable = run_routed_vllm_inference(df.convert_dtypes(), engine=scripted())
    assert plain["tier_confidences"].tolist() == nullable["tier_confidences"].tolist() == [[0.75], [0.5], [0.5]]
    assert (nullable["status"] == "last_tier").all() and nullable["passk_score"].tolist() == [0.0, 0.0, 1.0]
    no_gold = run_routed_vllm_inference(
        df.assign(original_solution=pd.array(["7", None, None], dtype="string")), engine=scripted()
    )
    assert no_gold["majority_vote_is_correct"].tolist() == [False, None, None]


def test_p6_bad_rows_say_why_and_the_others_go_on() -> None:
    df = table(
        "mv_entropy_1.5B_k4_t0.7", "17B", "7B", "7B", "7B", "7B", "7B", "7B",
        sc_n=[1, 1, 0, 1.5, 1, 1, 1, 1],
        sc_temp=[0, 0, 0, 0, -1, 0, 0, 0],
        cascade_tiers=[None] * 5 + ["{oops", None, None],
        score_7B=[0.5] * 6 + [1.3, 0.5],
    )  # fmt: skip
    df.loc[7, "problem"] = " "
    df = pd.concat([df, table("72B")], ignore_index=True)
    out = run_routed_vllm_inference(df, engine=scripted())
    assert out["status"].tolist() == ["error"] * 8 + ["last_tier"]
    told = ("position 11", "17B", "samples is 0", "samples is 1.5", "temperature is -1", "no JSON", "1.3", "no text")
    for error, part in zip(out["response_error"], told, strict=False):
        assert part in error
    assert out["response_error"][8] is None and out["majority_vote_is_correct"][8]
    assert out["total_cost_usd"].isna().tolist() == [True] * 8 + [False]


def test_p6_a_route_and_a_model_that_disagree_are_refused() -> None:
    out = run_routed_vllm_inference(table("7B", "1.5B", route=["mv_1.5B_k4_t0.7", "7B"]), engine=scripted())
    assert (out["status"] == "error").all() and "change both" in out["response_error"][0]


def test_p15_target_and_escalation() -> None:
    def path(**settings: Any) -> list[str]:
        found: list[str] = run_routed_vllm_inference(table(FULL), engine=scripted(), **settings)["escalation_path"][0]
        return found

    assert path(target_confidence=0.5) == ["1.5B"]
    assert path(target_confidence=0.99) == ["1.5B", "7B", "72B"]
    assert path(target_confidence=0.99, allow_escalation=False) == ["1.5B"]
    off = run_routed_vllm_inference(table(FULL, "mv_7B_k4_t0.7"), engine=scripted(), majority_vote=False)
    assert [len(json.loads(texts)) for texts in off["generated_solutions"]] == [1, 1]
    assert "votes are off" in off["notes"][0]


@pytest.mark.parametrize("each", [True, False, None])
def test_p16_p17_costs_add_up(each: bool | None) -> None:
    prices = {
        "1.5B": {"input": 0.1, "output": 0.3},
        "7B": {"input": 0, "output": 0},
        NAME.format("72B"): {"input": 3, "output": 7},
    }
    twice = "mv_cascade_1.5B_k4_t0.7_1.5B_k8_t0.7_72B_k1_t0.0"  # one model serves two tiers
    out = run_routed_vllm_inference(
        table(FULL, twice, "7B"), engine=scripted(), pricing_config=prices, charge_input_per_sample=each
    )
    assert (out["input_cost_usd"] + out["output_cost_usd"] == out["total_cost_usd"]).all()
    for total, tiers in zip(out["total_cost_usd"], out["cost_per_tier"], strict=True):
        assert math.isclose(total, math.fsum(tiers), rel_tol=1e-12)
    assert out["total_cost_usd"][2] == 0.0 and out["response_num_tokens"][2] == 5
    assert out["input_num_tokens"][0] == (90 if each else 30) and out["response_num_tokens"][0] == 45
    assert math.isclose(out["input_cost_usd"][0], ((40 if each else 10) * 0.1 + 10 * 3) / 1e6, rel_tol=1e-12)


def test_a_price_that_is_not_known_is_no_0(tmp_path: Path) -> None:
    pool = tmp_path / "own.toml"
    pool.write_text('[[models]]\nalias = "S"\nname = "own/S"\n')
    out = run_routed_vllm_inference(table("S"), engine=scripted({"S": ["7"]}), pool=pool)
    assert out["majority_vote_is_correct"][0] and math.isnan(out["total_cost_usd"][0])


def test_p18_passk_is_pass_at_k() -> None:
    out = run_routed_vllm_inference(table("mv_1.5B_k4_t0.7"), engine=scripted({"1.5B": ["1", "1", "1", "7"]}))
    assert out["passk_score"][0] == 1.0 and not out["majority_vote_is_correct"][0]


def test_a_checkpoint_is_never_paid_twice(tmp_path: Path) -> None:
    first, second = scripted(), scripted()
    df = table(FULL, "7B")
    one = run_routed_vllm_inference(df, engine=first, checkpoint_path=tmp_path / "ckpt.sqlite")
    two = run_routed_vllm_inference(df, engine=second, checkpoint_path=tmp_path / "ckpt.sqlite")
    assert len(first.requests) == 10 and not second.requests
    pd.testing.assert_frame_equal(one, two)
    three = run_routed_vllm_inference(one, engine=second)  # rows with a response are done
    assert not second.requests
    pd.testing.assert_frame_equal(one, three)
    empty = run_routed_vllm_inference(df.head(0), engine=second)
    assert len(empty) == 0 and list(empty) == list(one)


def test_a_persons_own_extraction(tmp_path: Path) -> None:
    def first_digit(text: str) -> str | None:
        return next((sign for sign in text if sign.isdigit()), None)

    def raises(text: str) -> str:
        raise ValueError("what is this")

    def script(request: Request) -> Generation:
        return Generation(("4 \\boxed{7}", "4", "none at all \\boxed{x}", "5")[request.index])

    df = table("mv_1.5B_k4_t0.7")
    store = tmp_path / "s.sqlite"
    out = run_routed_vllm_inference(df, engine=ScriptedEngine(script), checkpoint_path=store)
    assert out["majority_vote_extracted_answer"][0] == "4"
    out = run_routed_vllm_inference(
        df, engine=ScriptedEngine(script), extract_answer_fn=first_digit, checkpoint_path=store
    )
    assert out["majority_vote_extracted_answer"][0] == "4" and out["final_confidence"][0] == 0.5
    out = run_routed_vllm_inference(df, engine=ScriptedEngine(script), extract_answer_fn=raises)
    assert out["status"][0] == "error" and "what is this" in out["response_error"][0]


def test_settings_that_cannot_take_effect_are_refused() -> None:
    with pytest.raises(SettingError, match="gpu_memory_utilization"):
        run_routed_vllm_inference(
            table("7B"), engine="llamacpp", model_run_cfgs={NAME.format("7B"): {"gpu_memory_utilization": 0.6}}
        )
    with pytest.raises(TableError, match="no column 'problems'"):
        run_routed_vllm_inference(table("7B"), engine=scripted(), prompt_col="problems")
    with pytest.raises(TableError, match="of routes"):
        run_routed_vllm_inference(table("7B").drop(columns="route_to"), engine=scripted())


def test_the_shipped_like_recording_is_replayed_with_its_own_pool(tmp_path: Path) -> None:
    rows = [
        {"problem_id": str(row), "model": "7B", "temperature": 0.7, "answer": str(row), "text": f"\\boxed{{{row}}}"}
        for row in (0, 1)
        for _ in range(4)
    ]
    path = tmp_path / "rec.parquet"
    pd.DataFrame(rows).to_parquet(path)
    out = run_routed_vllm_inference(table(*["mv_7B_k4_t0.7"] * 2), engine=f"replay:{path}")
    assert out["majority_vote_extracted_answer"].tolist() == ["0", "1"]


def test_a_routing_table_of_ours_is_answered_as_it_stands() -> None:
    routes = ["7B", "mv_72B_k8_t0.7", FULL, "mv_entropy_cascade_1.5B_k4_t0.7_72B_k1_t0.0"]
    df = pd.concat([table(*routes).drop(columns="route_to"), expand(routes)], axis=1)
    out = run_routed_vllm_inference(df, engine=scripted())
    assert out["response_error"].isna().all() and "72B is greedy only" in out["notes"][1]
    assert out["route"].tolist()[2:] == routes[2:]


def test_it_works_where_a_loop_is_running() -> None:
    import asyncio

    async def cell() -> pd.DataFrame:
        return run_routed_vllm_inference(table("7B"), engine=scripted())

    assert asyncio.run(cell())["status"].tolist() == ["last_tier"]


def test_an_engine_given_open_stays_open() -> None:
    closed: list[bool] = []

    class Own(ScriptedEngine):
        async def rest(self, model: Any) -> None:
            pass

        async def close(self) -> None:
            closed.append(True)

    engine = Own(answering(P10))
    run_routed_vllm_inference(table("7B"), engine=engine)
    assert not closed and len(engine.requests) == 1
