"""Making policies: what is written is what was found, and a certificate follows from the data or does not."""

import random
from datetime import date
from pathlib import Path

import pandas as pd
import pytest

from escalade.errors import ProblemError, SettingError
from escalade.evaluation.sources import Opened, open_bank
from escalade.policies import PolicyFile, read_policy
from escalade.tuning.certificate import certify
from escalade.tuning.making import (
    Ground,
    certified_policy,
    groups_in,
    prepare_ground,
    recertify,
    reference_route,
    tuned_policy,
)
from escalade.tuning.tuning import Goal, tune
from tests.evaluation import pools

DAY = date(2026, 1, 31)


@pytest.fixture(scope="module")
def opened() -> Opened:
    bank = pools.bank(random.Random(2), {"S": 4, "L": 3}, problems=60, silence=0.0, answers=("1", "2"))
    return Opened(bank, "made", "tokens", (), {"samples": "1" * 64, "problems": "2" * 64, "pool": "3" * 64})


@pytest.fixture(scope="module")
def ground(opened: Opened) -> Ground:
    return prepare_ground(opened, confidences=["margin"])


@pytest.fixture(scope="module")
def certified(ground: Ground, opened: Opened) -> PolicyFile:
    top = reference_route("L", opened)
    assert top is not None
    found = certify(opened.bank, ground.trials, top, 0.4, groups=ground.groups)
    return certified_policy(ground, found, name="mine", day=DAY)


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


def test_a_certificate_follows_from_its_data(certified: PolicyFile, opened: Opened, tmp_path: Path) -> None:
    certified.write(tmp_path / "p.toml")
    found = recertify(read_policy(tmp_path / "p.toml").file, opened)
    assert (found.same_data, found.holds, found.differences) == (True, True, ())


@pytest.mark.parametrize("key", ["bound", "labels", "seed", "max_loss"])
def test_a_certificate_that_was_touched_up_differs(certified: PolicyFile, opened: Opened, key: str) -> None:
    assert certified.certificate is not None
    touched = {"bound": 0.001, "labels": 4000, "seed": 7, "max_loss": 0.39}[key]
    forged = certified.certificate.model_copy(update={key: touched})
    found = recertify(certified.model_copy(update={"certificate": forged}), opened)
    assert found.same_data
    assert not found.holds
    assert found.differences


def test_another_route_under_the_same_certificate_differs(certified: PolicyFile, opened: Opened) -> None:
    found = recertify(certified.model_copy(update={"route": "mv_S_k1_t0.7"}), opened)
    assert not found.holds
    assert any(line.startswith("route: ") for line in found.differences)


def test_the_same_problems_at_other_prices_confirm_nothing(certified: PolicyFile, opened: Opened) -> None:
    dearer = Opened(opened.bank, opened.source, opened.unit, opened.notes, {**opened.fingerprints, "pool": "0" * 64})
    found = recertify(certified, dearer)
    assert not found.holds and found.verdict is None
    assert [text.partition(":")[0] for text in found.differences] == ["pool_sha256"]


def test_other_data_give_a_verdict_of_their_own(certified: PolicyFile, opened: Opened) -> None:
    fewer = Opened(
        opened.bank.subset(range(40)),
        opened.source,
        opened.unit,
        opened.notes,
        {**opened.fingerprints, "problems": "0" * 64},
    )
    found = recertify(certified, fewer)
    assert not found.same_data
    assert found.verdict is not None
    assert found.verdict.labels == 40
    assert found.holds == found.verdict.holds
    assert found.differences[0].startswith("problems_sha256")


def test_a_policy_without_a_certificate_has_none_to_verify(opened: Opened) -> None:
    with pytest.raises(SettingError, match="has no certificate"):
        recertify(PolicyFile(name="mine", route="mv_S_k1_t0.7"), opened)


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
    assert groups_in(path, "family", opened) == [ident[0] for ident in ids]
    with pytest.raises(ProblemError, match=r"no column 'famly'.*did you mean 'family'"):
        groups_in(path, "famly", opened)
    pd.DataFrame({"id": ids[1:], "family": ids[1:]}).to_csv(path, index=False)
    with pytest.raises(ProblemError, match=f"no row for problem {ids[0]!r}"):
        groups_in(path, "family", opened)
