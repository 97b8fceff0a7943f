"""A policy that was certified on sixty problems."""

import random
from datetime import date

import pytest

from escalade.evaluation.bank import Bank
from escalade.evaluation.identity import digests, fingerprint
from escalade.evaluation.sources import Opened
from escalade.policies import PolicyFile
from escalade.tuning.certificate import certify
from escalade.tuning.making import Ground, certified_policy, prepare_ground, reference_route
from tests.evaluation import pools

DAY = date(2026, 1, 31)


def prints(bank: Bank) -> dict[str, str]:
    return {"samples": "1" * 64, "problems": fingerprint(digests(bank.problems)), "pool": "3" * 64}


@pytest.fixture(scope="module")
def opened() -> Opened:
    bank = pools.bank(random.Random(2), {"S": 4, "L": 3}, problems=60, silence=0.0, answers=("1", "2"))
    return Opened(bank, "made", "tokens", (), prints(bank))


@pytest.fixture(scope="module")
def ground(opened: Opened) -> Ground:
    return prepare_ground(opened, confidences=["margin"])


@pytest.fixture(scope="module")
def certified(ground: Ground, opened: Opened) -> PolicyFile:
    top = reference_route("L", opened)
    assert top is not None
    found = certify(opened.bank, ground.trials, top, 0.4, groups=ground.groups)
    return certified_policy(ground, found, name="mine", day=DAY)
