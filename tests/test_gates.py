"""Gates: the score alone says which way a problem goes, and what lacks a score is refused by name."""

import json
from pathlib import Path

import pandas as pd
import pytest

import escalade
from escalade.errors import InputError, RefusedScoreError, RouteError, ScoreError, SettingError
from escalade.gates import Gate, parse_gate
from escalade.job import prepare
from escalade.policies import Gate as GateKept
from escalade.policies import MadeFrom, PolicyFile, conditions_of, read_policy, with_mismatches
from escalade.pool import load_pool
from escalade.problems import Problem, read_problems, shipped_problems
from escalade.routes import parse_route
from escalade.score_files import write_published

POOL = load_pool("qwen2.5-math")
SMALL, LARGE = "mv_0.5B_k3_t0.7", "mv_cascade_0.5B_k5_t0.7_c0.8_1.5B_k3_t0.7"


def policy(folder: Path, **gate: object) -> Path:
    path = folder / "policy.toml"
    kept = GateKept.model_validate({"score": "0.5B", "at_least": 0.5, "route": SMALL, **gate})
    PolicyFile(name="gated", route=LARGE, gate=kept).write(path)
    return path


def scores(n: int = 60) -> pd.DataFrame:
    """The scores of the shipped problems: 0, 0.02, 0.04, ..., from the first on."""
    problems = escalade.run(route="0.5B", engine="replay:shipped", limit=n).job.problems
    return pd.DataFrame({"id": [p.id for p in problems], "score_0.5B": [0.02 * i for i in range(n)]})


def test_what_reaches_the_score_goes_by_the_gate(tmp_path: Path) -> None:
    table = scores(50)
    gated = escalade.run(policy=policy(tmp_path), engine="replay:shipped", scores=table, limit=50)
    rows = gated.to_pandas()
    assert (rows["route"] == SMALL).tolist() == (table["score_0.5B"] >= 0.5).tolist()
    assert set(rows["route"]) == {SMALL, LARGE}
    for route in (SMALL, LARGE):  # whichever way it went, it is as if all had gone it
        plain = {
            item.problem.id: item for item in escalade.run(route=route, engine="replay:shipped", limit=50).answered
        }
        own = [item for item in gated.answered if str(item.route) == route]
        assert [item.outcome.answer for item in own] == [plain[item.problem.id].outcome.answer for item in own]
        assert [item.cost for item in own] == [plain[item.problem.id].cost for item in own]


def test_results_say_which_way_a_problem_went_and_by_what(tmp_path: Path) -> None:
    gated = escalade.run(policy=policy(tmp_path), engine="replay:shipped", scores=scores(50), limit=50)
    notes = gated.to_pandas()["notes"]
    assert notes[24].startswith("gate: score of 0.5B 0.48 < 0.5")
    assert notes[25].startswith("gate: score of 0.5B 0.5 >= 0.5")
    said = gated.summary().to_dict()
    assert said["route"] == f"{SMALL} where score of 0.5B >= 0.5, else {LARGE}"
    assert said["gate"] == {"score": "0.5B", "at_least": 0.5, "route": SMALL, "problems": 25}
    assert json.loads(json.dumps(said)) == said
    plain = escalade.run(route=SMALL, engine="replay:shipped", limit=3)
    assert plain.summary().to_dict()["gate"] is None
    assert not plain.to_pandas()["notes"].astype(str).str.contains("gate").any()


@pytest.mark.parametrize(("at_least", "route"), [(0.0, SMALL), (1.0, LARGE)])
def test_a_gate_may_take_all_or_none(tmp_path: Path, at_least: float, route: str) -> None:
    ran = escalade.run(policy=policy(tmp_path, at_least=at_least), engine="replay:shipped", scores=scores(9), limit=9)
    assert {str(item.route) for item in ran.answered} == {route}


def test_a_problem_without_the_score_is_named_with_column_and_remedy(tmp_path: Path) -> None:
    path = policy(tmp_path)
    with pytest.raises(
        ScoreError, match=r"has no score of 0.5B.*column score_0.5B with --scores FILE \(escalade probe"
    ):
        escalade.run(policy=path, engine="replay:shipped")
    table = scores(5)
    table.loc[3, "score_0.5B"] = float("nan")
    with pytest.raises(ScoreError, match=f"{table['id'][3]}.*score_0.5B.*missing"):
        escalade.run(policy=path, engine="replay:shipped", scores=table, limit=5)
    of_another = table.rename(columns={"score_0.5B": "score_1.5B"}).fillna(0.5)
    with pytest.raises(ScoreError, match=r"has no score of 0\.5B"):
        escalade.run(policy=path, engine="replay:shipped", scores=of_another, limit=5)


@pytest.mark.parametrize(
    ("gate", "error", "said"),
    [
        ({"score": "0.6B"}, SettingError, "score of an unknown model '0.6B'.*did you mean '0.5B'"),
        ({"route": "mv_0.5B_k3"}, RouteError, "temperature"),
        ({"route": "mv_7B_k3_t0.7"}, RouteError, "7B"),
    ],
)
def test_a_gate_that_this_pool_does_not_know_is_refused_before_anything_is_drawn(
    tmp_path: Path, gate: dict[str, str], error: type[InputError], said: str
) -> None:
    # Though no problem would go by its route.
    with pytest.raises(error, match=said):
        escalade.run(policy=policy(tmp_path, at_least=1.0, **gate), engine="replay:shipped", scores=scores(5), limit=5)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("at_least = 0.5\nroute = 'r'", "gate.score: missing"),
        ("score = 'S'\nat_least = 1.5\nroute = 'r'", "gate.at_least"),
        ("score = 'S'\nat_least = nan\nroute = 'r'", "gate.at_least"),
        ("score = 'S'\nat_least = '0.5'\nroute = 'r'", "gate.at_least"),
        ("score = 'S'\nat_lest = 0.5\nat_least = 0.5\nroute = 'r'", "gate.at_lest: unknown key.*'at_least'"),
    ],
)
def test_a_gate_that_is_none_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "p.toml"
    path.write_text(f'name = "x"\nroute = "r"\n[gate]\n{text}\n', encoding="utf-8")
    with pytest.raises(SettingError, match=said):
        read_policy(path)


def test_a_file_keeps_its_gate(tmp_path: Path) -> None:
    path = policy(tmp_path, at_least=0.1 + 0.2)
    text = path.read_text(encoding="utf-8")
    assert "[gate]\n" in text
    again = read_policy(path).file
    assert again.gate == GateKept(score="0.5B", at_least=0.1 + 0.2, route=SMALL)
    assert again.text() == text
    assert "[gate]" not in PolicyFile(name="x", route=LARGE).text()


def test_what_differs_is_said_of_both_routes_whichever_way_problems_go(tmp_path: Path) -> None:
    job = prepare(route="0.5B", engine="replay:shipped", limit=3)
    now = conditions_of(job.pool, job.problems)
    large = now.models["1.5B"].model_copy(update={"prompt": "another"})
    made = MadeFrom.model_construct(conditions=now.model_copy(update={"models": {**now.models, "1.5B": large}}))
    gate = GateKept(score="0.5B", at_least=0.0, route=SMALL)  # all go by the small model
    PolicyFile(name="x", route=LARGE, gate=gate).write(tmp_path / "p.toml")
    kept = read_policy(tmp_path / "p.toml")
    kept = kept.__class__(kept.path, kept.file.model_copy(update={"made_from": made}), kept.sha256)
    gated = prepare(route=LARGE, gate=gate, engine="replay:shipped", scores=scores(3), limit=3)
    assert {str(route) for route in gated.routes} == {SMALL}
    assert [m for m in with_mismatches(gated, kept).mismatches if m.startswith("1.5B: the prompt was another")]


def test_a_gate_stands_before_a_route() -> None:
    gate = GateKept(score="0.5B", at_least=0.5, route=SMALL)
    with pytest.raises(SettingError, match="a gate stands before a route"):
        prepare(strategy="always_1.5B", gate=gate, engine="replay:shipped")


def test_a_full_name_stands_for_its_alias() -> None:
    model = POOL.models[0]
    kept = GateKept(score=model.name, at_least=1, route=f"mv_{model.alias}_k3_t0.7")
    assert parse_gate(kept, POOL) == Gate(model.alias, 1.0, parse_route(f"mv_{model.alias}_k3_t0.7"))


def test_the_score_may_be_exactly_what_is_asked() -> None:
    gate = Gate("7B", 0.1 + 0.2, parse_route("7B"))
    assert gate.takes(Problem("p", "?", scores={"7B": 0.1 + 0.2}))
    assert not gate.takes(Problem("p", "?", scores={"7B": 0.3}))


def test_a_gate_does_not_go_by_a_refused_score(tmp_path: Path) -> None:
    asked = read_problems(shipped_problems(), limit=2)
    rows = pd.DataFrame({"idx": [p.id for p in asked], "problem": [p.text for p in asked], "score": [0.9, 0.1]})
    note = {"probe": "one", "sha256": "1" * 64, "refused": "AUROC 0.52 [0.47, 0.57]"}
    name = load_pool("embedded")["0.5B"].name
    file = write_published(tmp_path, "P", "D", name, maxlen=200, k=5, temp=0.7, table=rows, note=note)
    with pytest.raises(RefusedScoreError, match=r"scores of '0\.5B' are refused"):
        escalade.run(
            asked, policy=policy(tmp_path), engine="replay:shipped", pool="embedded", scores=file.parent.parent
        )
