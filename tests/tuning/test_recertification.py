"""Recertification: a certificate follows from its data or does not; others are asked where they had no part in it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from escalade.errors import SettingError
from escalade.evaluation.bank import Bank
from escalade.evaluation.sources import Opened
from escalade.policies import PolicyFile, TunedOn, read_policy
from escalade.problems import Problem
from escalade.tuning.recertification import recertify
from tests.tuning.conftest import prints


def asked_otherwise(opened: Opened, change: Callable[[int, Problem], Problem]) -> Opened:
    """The same samples, of problems that were changed."""
    bank = opened.bank
    problems = tuple(change(number, problem) for number, problem in enumerate(bank.problems))
    rows = {
        (new.id, name): bank.rows[old.id, name]
        for old, new in zip(bank.problems, problems, strict=True)
        for name in ("S", "L")
    }
    other = Bank(bank.pool, problems, rows, bank.place)
    return replace(opened, bank=other, fingerprints={**prints(other), "samples": "9" * 64})


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
    found = recertify(certified, replace(opened, fingerprints={**opened.fingerprints, "pool": "0" * 64}))
    assert not found.holds and found.verdict is None
    assert [text.partition(":")[0] for text in found.differences] == ["pool_sha256"]


def test_a_policy_without_a_certificate_has_none_to_verify(opened: Opened) -> None:
    with pytest.raises(SettingError, match="has no certificate"):
        recertify(PolicyFile(name="mine", route="mv_S_k1_t0.7"), opened)


def test_other_data_give_a_verdict_of_their_own(certified: PolicyFile, opened: Opened) -> None:
    others = asked_otherwise(opened, lambda _, problem: replace(problem, text=f"another {problem.text}"))
    found = recertify(certified, others)
    assert not found.same_data
    assert found.verdict is not None
    assert (found.verdict.labels, found.shared, found.alike) == (60, 0, 0)
    assert found.holds == found.verdict.holds
    assert found.differences[0].startswith("problems_sha256")


def test_the_same_problems_under_other_ids_confirm_nothing(certified: PolicyFile, opened: Opened) -> None:
    found = recertify(certified, asked_otherwise(opened, lambda _, problem: replace(problem, id=f"q{problem.id}")))
    assert found.same_data and not found.holds and found.verdict is None


def test_problems_that_had_a_part_have_none_in_the_verdict(certified: PolicyFile, opened: Opened) -> None:
    def other(number: int, problem: Problem) -> Problem:
        return replace(problem, id=f"q{number}", text=problem.text if number < 15 else f"another {number}")

    mixed = asked_otherwise(opened, other)
    found = recertify(certified, mixed)
    assert found.verdict is not None
    assert (found.verdict.labels, found.shared, found.alike) == (45, 15, 0)
    fresh = replace(mixed, bank=mixed.bank.subset(range(15, 60)))
    assert recertify(certified, fresh).verdict == found.verdict
    # Each of those that had a part has a near-duplicate.
    alike = recertify(certified, mixed, groups=[number % 30 if number < 45 else number for number in range(60)])
    assert alike.verdict is not None
    assert (alike.verdict.labels, alike.shared, alike.alike) == (30, 15, 15)


def test_where_too_few_had_no_part_there_is_no_verdict(certified: PolicyFile, opened: Opened) -> None:
    fewer = opened.bank.subset(range(40))
    with pytest.raises(SettingError, match=r"40 of these 40 problems had a part .* labels: 0, where .* 0.4 takes 5"):
        recertify(certified, replace(opened, bank=fewer, fingerprints=prints(fewer)))

    def other(number: int, problem: Problem) -> Problem:
        return problem if number >= 4 else replace(problem, text=f"another {number}")

    with pytest.raises(SettingError, match=r"56 of these 60 problems had a part .* labels: 4,"):
        recertify(certified, asked_otherwise(opened, other))


def test_a_file_that_does_not_say_what_it_was_tuned_on_is_refused(certified: PolicyFile, opened: Opened) -> None:
    with pytest.raises(SettingError, match=r"does not say which problems it was tuned on .* tune it anew"):
        recertify(certified.model_copy(update={"tuned_on": None}), opened)


def test_problems_that_were_taken_out_of_a_file_are_missed(certified: PolicyFile, tmp_path: Path) -> None:
    assert certified.tuned_on is not None
    fewer = TunedOn(problems=certified.tuned_on.problems[1:])
    certified.model_copy(update={"tuned_on": fewer}).write(tmp_path / "p.toml")
    with pytest.raises(SettingError, match=r"problems_sha256 is not the fingerprint of \[tuned_on\]"):
        read_policy(tmp_path / "p.toml")
