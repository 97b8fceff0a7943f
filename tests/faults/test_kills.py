"""P14: a run is killed (SIGKILL) at random moments, begun again, and in the end as if nothing had happened."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from escalade.samples.audit import findings
from escalade.samples.sample import Generation
from escalade.samples.store import LOST_RACE, Store
from tests.faults.climber import SLOTS, Settings
from tests.faults.conftest import Size

ROOT = Path(__file__).parents[2]
IN_FLIGHT = 3 * SLOTS
"""Requests that a kill can lose at most."""
PATIENCE = 240.0
"""Seconds after which a process that does not end has failed the test."""
Place = tuple[str, str, int]
"""Problem, model at temperature, index."""


@contextmanager
def climbing(settings: Settings) -> Iterator[subprocess.Popen[str]]:
    """A run in a process of its own; it does not outlive the block."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.faults.climber", json.dumps(asdict(settings))],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_WAIT_POLICY": "passive"},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def outcomes(process: subprocess.Popen[str]) -> dict[str, Any]:
    """What an uninterrupted run says."""
    out, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    return found


def uninterrupted(settings: Settings) -> dict[str, Any]:
    with climbing(settings) as process:
        return outcomes(process)


def samples(path: Path) -> dict[Place, Generation]:
    """The samples of a store; that each key is there once is checked on the way."""
    with Store(path) as store:
        every = list(store.samples())
    found = {
        (s.problem_id, f"{s.model_name.rpartition('/')[2]}@{s.temperature:g}", s.index): s.generation for s in every
    }
    assert len(found) == len(every)
    return found


def lines(path: Path) -> list[list[str]]:
    """What the witness has seen; a kill may come before the line of a request, never within it."""
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def rows(path: Path) -> int:
    """Samples and attempts of a store, which must be sound whenever its process was killed."""
    if not path.exists():
        return 0
    assert findings(path) == []
    with Store(path) as store:
        return len(store) + sum(1 for _ in store.attempts())


def killed(settings: Settings, *, after: int, moment: float, begins: bool = True) -> bool:
    """Run until the witness file is so many bytes longer, and a moment more; return whether it had to be killed.

    One that need not begin is killed a moment after its process was started, perhaps before it has a store.
    """
    witness = Path(settings.witness)
    before = witness.stat().st_size if witness.exists() else 0
    with climbing(settings) as process:
        assert process.stdout is not None
        if begins:
            process.stdout.readline()  # ready
        ends = time.monotonic() + PATIENCE
        while begins and process.poll() is None and time.monotonic() < ends:
            if witness.exists() and witness.stat().st_size >= before + after:
                break
            time.sleep(0.0005)
        time.sleep(moment)
        process.send_signal(signal.SIGKILL)
        process.wait(PATIENCE)
    return process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("stop", ["none", "verdict"])
def test_p14_killed_at_random_moments_the_end_is_that_of_an_uninterrupted_run(
    stop: str, tmp_path: Path, size: Size
) -> None:
    """Where nothing stops early, every sample and cost is the same; where requests are cancelled, every outcome."""
    whole = Settings(str(tmp_path / "whole.sqlite"), str(tmp_path / "whole.txt"), stop=stop)
    expected = uninterrupted(whole)
    assert len({str(item["answer"]) for item in expected.values()}) > 1
    reference = samples(tmp_path / "whole.sqlite")
    dice, kills, lost, rounds = random.Random(stop), 0, Counter[str](), 0
    while kills < size(5, 100):
        rounds += 1
        store, witness = tmp_path / f"{rounds}.sqlite", tmp_path / f"{rounds}.txt"
        while True:
            settings = Settings(str(store), str(witness), dice=dice.randrange(10**6), stop=stop)
            seen, kept = len(lines(witness)), rows(store)
            if kills == size(5, 100):
                break
            if dice.random() < 0.15:
                killed(settings, after=0, moment=dice.uniform(0, 1.2), begins=False)
            elif not killed(
                settings, after=dice.randint(0, 3000), moment=dice.choice([0, 0.003, 0.02]) * dice.random()
            ):
                break
            kills += 1
            life = Counter(line[0] for line in lines(witness)[seen:])
            gone = life["begun"] - (rows(store) - kept)
            assert 0 <= gone <= IN_FLIGHT  # neither is there what nobody asked for
            lost["begun"] += gone
        settings = Settings(str(store), str(witness), dice=rounds, stop=stop)
        got = uninterrupted(settings)
        check_round(expected, got, reference, settings, lost)
    seen = lines(witness)
    assert uninterrupted(settings) == got  # costs, too: what was paid for in any life is charged
    assert lines(witness) == seen
    print(f"\n{stop}: {kills} kills in {rounds} rounds lost {lost['begun']} requests, {lost['finished']} of them whole")


def check_round(
    expected: dict[str, Any],
    got: dict[str, Any],
    reference: dict[Place, Generation],
    settings: Settings,
    lost: Counter[str],
) -> None:
    """A store that has been through kills, beside that of the uninterrupted run, and its witness."""
    path = Path(settings.store or "")
    assert findings(path) == []
    have = samples(path)
    verdict = ("status", "answer", "decided_by", "notes")
    assert {p: [row[key] for key in verdict] for p, row in got.items()} == {
        p: [row[key] for key in verdict] for p, row in expected.items()
    }
    if settings.stop == "none":
        assert got == expected
        assert have == reference
    else:
        both = have.keys() & reference.keys()
        assert {place: have[place] for place in both} == {place: reference[place] for place in both}
    # Whatever was finished is there, but for what was under way at a kill and was then asked again.
    seen = lines(Path(settings.witness))
    finished = Counter((p, m, int(i)) for what, p, m, i, _ in seen if what == "finished")
    assert have.keys() <= finished.keys()
    with Store(path) as store:
        attempts = Counter(attempt.kind for attempt in store.attempts())
    lost["finished"] += sum(finished.values()) - len(have)
    assert set(attempts) <= {"cancelled"}
    assert attempts["cancelled"] <= sum(what == "cancelled" for what, *_ in seen)


def test_p14_two_processes_on_one_store_end_alike_and_keep_each_sample_once(tmp_path: Path, size: Size) -> None:
    """Both ask for what neither has kept yet; of two samples of one key the first is kept, the other's tokens are
    those of a cancelled request, charged to the process that paid them."""
    expected = uninterrupted(Settings(None, str(tmp_path / "whole.txt")))
    kept_twice = asked_twice = 0
    for number in range(size(1, 8)):
        store = tmp_path / f"{number}.sqlite"
        each = [Settings(str(store), str(tmp_path / f"{number}{name}.txt"), dice=number) for name in "ab"]
        with climbing(each[0]) as a, climbing(each[1]) as b:
            got = [outcomes(a), outcomes(b)]
        for found in got:
            same = ("status", "answer", "decided_by", "notes", "samples")
            assert {p: [row[key] for key in same] for p, row in found.items()} == {
                p: [row[key] for key in same] for p, row in expected.items()
            }
        assert findings(store) == []
        have, seen = samples(store), [line for one in each for line in lines(Path(one.witness))]
        begun = Counter((p, m, int(i)) for what, p, m, i, _ in seen if what == "begun")
        assert begun.keys() == have.keys()
        with Store(store) as opened:
            lost = list(opened.attempts())
        assert {(attempt.kind, attempt.message) for attempt in lost} <= {("cancelled", LOST_RACE)}
        assert len(have) + len(lost) == sum(begun.values())  # nobody's request is unaccounted for
        tokens = sum(int(count) for what, *_, count in seen if what == "finished")
        in_store = sum(g.completion_tokens or 0 for g in have.values()) + sum(a.completion_tokens or 0 for a in lost)
        assert in_store == tokens
        asked_twice += len(lost)
        kept_twice += len(have)
    print(f"\ntwo processes: {asked_twice} of {kept_twice} samples were asked for twice")


@pytest.mark.model
def test_p14_the_real_model_killed_at_random_moments(tmp_path: Path, smallest_model: Path, size: Size) -> None:
    told = {"problems": 2, "weights": str(smallest_model)}
    expected = uninterrupted(Settings(str(tmp_path / "whole.sqlite"), "", **told))
    texts = {place: generation.text for place, generation in samples(tmp_path / "whole.sqlite").items()}
    dice, settings, kills = random.Random(0), Settings(str(tmp_path / "killed.sqlite"), "", **told), 0
    while kills < size(1, 10):
        with climbing(settings) as process:
            assert process.stdout is not None
            process.stdout.readline()
            with suppress(subprocess.TimeoutExpired):
                process.wait(dice.uniform(0, 2.0))
            process.kill()
            process.wait(PATIENCE)
        if process.returncode == -signal.SIGKILL:
            kills += 1
        else:
            Path(settings.store or "").unlink()  # it was done before
    assert uninterrupted(settings) == expected
    assert {place: g.text for place, g in samples(tmp_path / "killed.sqlite").items()} == texts
