"""Making policies: what is written is what was found."""

import random
from pathlib import Path

import pandas as pd
import pytest

from escalade.cascade.policy import Policy
from escalade.errors import ProblemError, SettingError
from escalade.evaluation.groups import groups_in
from escalade.evaluation.identity import digests, fingerprint
from escalade.evaluation.sources import Opened, open_bank
from escalade.policies import read_policy
from escalade.routes import parse_route
from escalade.tuning.candidates import Candidate
from escalade.tuning.certificate import certify
from escalade.tuning.goals import Goal
from escalade.tuning.making import (
    Ground,
    certified_policy,
    label,
    prepare_ground,
    reference_route,
    tuned_policy,
)
from escalade.tuning.recertification import recertify
from escalade.tuning.tuning import tune
from tests.evaluation import pools
from tests.tuning.conftest import DAY


def test_a_certificate_of_priors_follows_from_the_data_again() -> None:
    bank = pools.bank(random.Random(2), {"S": 3, "L": 2}, problems=60, silence=0.0, answers=("1", "2"), scores=True)
    marks = {"samples": "1" * 64, "problems": fingerprint(digests(bank.problems)), "pool": "3" * 64}
    opened = Opened(bank, "made", "tokens", (), marks)
    ground = prepare_ground(opened, confidences=["share", "prior"], prior_strength=2.5)
    top = reference_route("L", opened)
    assert top is not None
    found = certify(opened.bank, ground.trials, top, 0.4, groups=ground.groups)
    file = certified_policy(ground, found, name="mine", day=DAY)
    # All candidates were tried at one strength, so that the file tells it whichever of them was chosen.
    assert file.settings.prior_strength == 2.5
    assert recertify(file, opened, groups=ground.groups).holds
    weaker = file.model_copy(update={"settings": file.settings.model_copy(update={"prior_strength": 1.0})})
    assert not recertify(weaker, opened, groups=ground.groups).holds


def test_a_label_tells_the_strength_of_priors_alone() -> None:
    route = parse_route("mv_7B_k3_t0.7")
    strong = Candidate(route, Policy(confidence="prior", prior_strength=9.0))
    assert label(strong) == "mv_7B_k3_t0.7 (confidence prior, prior_strength 9.0)"
    assert label(Candidate(route, Policy(prior_strength=9.0))) == "mv_7B_k3_t0.7"


def test_a_tuned_policy_is_written_with_its_numbers(ground: Ground, tmp_path: Path) -> None:
    tuned = tune(ground.trials, Goal(budget=1e-3), groups=ground.groups, repeats=2)
    file = tuned_policy(ground, tuned, name="mine", day=DAY)
    file.write(tmp_path / "p.toml")
    again = read_policy(tmp_path / "p.toml").file
    assert again == file
    assert again.numbers is not None
    assert again.numbers.optimism == tuned.in_sample.accuracy.value - tuned.held_out.accuracy.value
    assert again.made_from is not None
    assert again.made_from.prices["S"]["output"] == "0.7"
    assert again.made_from.problems == 60


def test_nothing_certified_is_nothing_to_write(ground: Ground, opened: Opened) -> None:
    top = reference_route("L", opened)
    assert top is not None
    found = certify(opened.bank, ground.trials, top, 0.01, groups=ground.groups)
    with pytest.raises(SettingError, match="none to write"):
        certified_policy(ground, found, name="mine", day=DAY)


def test_a_reference_may_be_an_alias_or_a_routing_string(opened: Opened) -> None:
    assert str(reference_route("L", opened)) == "mv_L_k1_t0.7"
    assert str(reference_route("1.5B", open_bank())) == "mv_1.5B_k1_t0.0"  # one of each kind: the greedy one
    assert str(reference_route("mv_L_k3_t0.7", opened)) == "mv_L_k3_t0.7"
    assert reference_route(None, opened) is None


def test_groups_may_be_a_column_of_the_problems_file(opened: Opened, tmp_path: Path) -> None:
    path = tmp_path / "problems.csv"
    ids = [problem.id for problem in opened.bank.problems]
    pd.DataFrame({"id": ids, "problem": ids, "family": [ident[0] for ident in ids]}).to_csv(path, index=False)
    assert groups_in(path, "family", opened.bank.problems) == [ident[0] for ident in ids]
    with pytest.raises(ProblemError, match=r"no column 'famly'.*did you mean 'family'"):
        groups_in(path, "famly", opened.bank.problems)
    pd.DataFrame({"id": ids[1:], "family": ids[1:]}).to_csv(path, index=False)
    with pytest.raises(ProblemError, match=f"no row for problem {ids[0]!r}"):
        groups_in(path, "family", opened.bank.problems)
