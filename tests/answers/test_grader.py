"""The grader, with kinds of answers that are slow, cannot decide, or relate keys in odd ways."""

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from escalade.answers.extract import Answer
from escalade.answers.grader import Grader
from escalade.answers.kinds import Undecided, kind_of
from escalade.samples.verdicts import Verdicts


@dataclass
class Scripted:
    """A kind whose `equal` is a function, and which counts how often it is asked."""

    verdict: Callable[[str, str], bool]
    name: str = "scripted"
    version: str = "scripted 1"
    asked: list[tuple[str, str]] = field(default_factory=list)

    def extract(self, text: str) -> Answer | None:
        return Answer(text, "whole")

    def key(self, answer: str) -> str | None:
        return answer or None

    def equal(self, a: str, b: str) -> bool:
        self.asked.append((a, b))
        return self.verdict(a, b)

    def surely_different(self, a: str, b: str) -> bool:
        return False

    def accepted(self, gold: str) -> tuple[str, ...]:
        return (gold,) if gold else ()


def by_first_letter(a: str, b: str) -> bool:
    return a[0] == b[0]


def never(a: str, b: str) -> bool:
    raise Undecided("no verdict within 2 s")


def test_a_pair_is_asked_once_and_in_one_order_whatever_way_round():
    kind, grader = Scripted(lambda a, b: (a, b) == ("a", "b")), Grader()
    assert grader.same(kind, "b", "a") and grader.same(kind, "a", "b")
    assert kind.asked == [("a", "b")]
    assert grader.asked == 1


def test_a_pair_that_is_undecided_counts_as_different_and_is_reported():
    kind, grader = Scripted(never), Grader()
    assert not grader.same(kind, "x", "y")
    assert grader.report()["undecided_pairs"] == [{"a": "x", "b": "y", "why": "no verdict within 2 s"}]


def test_verdicts_survive_the_process_under_the_version_of_the_kind(tmp_path: Path):
    first = Scripted(by_first_letter)
    memory = Verdicts(tmp_path / "s.sqlite")
    assert Grader(memory).same(first, "ab", "ac")
    assert not Grader(memory).same(Scripted(never, asked=[]), "x", "y")
    memory.close()

    memory = Verdicts(tmp_path / "s.sqlite")
    again = Scripted(by_first_letter)
    grader = Grader(memory)
    assert grader.same(again, "ac", "ab") and not grader.same(again, "x", "y")
    assert again.asked == [] and grader.asked == 0
    assert [pair["why"] for pair in grader.report()["undecided_pairs"]] == ["no verdict within 2 s"]
    newer = Scripted(lambda a, b: False, version="scripted 2")
    assert not Grader(memory).same(newer, "ab", "ac")
    assert newer.asked == [("ab", "ac")]
    unversioned = Scripted(by_first_letter, version="")
    assert Grader(memory).same(unversioned, "ab", "ac")
    assert unversioned.asked == [("ab", "ac")]
    memory.close()


def test_keys_that_say_it_all_ask_nobody():
    grader = Grader()
    assert grader.names(kind_of("text"), {"a": 1, "b": 1}) == {}
    assert grader.names(kind_of("math"), {"1": 3, "2": 1, "x+1": 2}, ask=False) == {}


def test_a_class_is_named_by_its_smallest_key():
    kind, grader = Scripted(by_first_letter), Grader()
    assert grader.names(kind, {"ab": 1, "aa": 5, "b": 2, "ac": 1}) == {"aa": "aa", "ab": "aa", "ac": "aa"}


@given(st.dictionaries(st.text("abc", min_size=1, max_size=3), st.integers(1, 9), max_size=8), st.integers())
def test_classes_do_not_depend_on_the_order_of_arrival(tally: dict[str, int], seed: int):
    def near(a: str, b: str) -> bool:  # symmetric, not transitive
        return len(set(a) & set(b)) > 0 and abs(len(a) - len(b)) <= 1

    shuffled = list(tally.items())
    random.Random(seed).shuffle(shuffled)
    forward, backward = Grader().names(Scripted(near), tally), Grader().names(Scripted(near), dict(shuffled))
    assert forward == backward
    assert forward is not None
    for name in forward.values():
        assert forward[name] == name  # a name is a member of its class, and names it


def test_without_asking_what_is_open_stays_open():
    kind, grader = Scripted(by_first_letter), Grader()
    assert grader.names(kind, {"aa": 1, "ab": 1}, ask=False) is None
    assert kind.asked == []
    assert grader.names(kind, {"aa": 1, "ab": 1}) == {"aa": "aa", "ab": "aa"}
    assert grader.names(kind, {"aa": 1, "ab": 1}, ask=False) == {"aa": "aa", "ab": "aa"}


def test_one_problem_takes_only_so_many_comparisons():
    kind, grader = Scripted(lambda a, b: False), Grader(comparisons=10)
    assert grader.names(kind, {f"k{i}": 1 for i in range(50)}) == {}
    assert len(kind.asked) == 10
    assert all("10 comparisons" in pair["why"] for pair in grader.report()["undecided_pairs"])


def test_most_frequent_keys_are_compared_first():
    kind, grader = Scripted(lambda a, b: False), Grader(comparisons=1)
    grader.names(kind, {"rare": 1, "often": 9, "some": 5})
    assert kind.asked == [("often", "some")]


def test_a_gold_is_met_by_any_key_it_accepts():
    kind, grader = Scripted(by_first_letter), Grader()
    assert grader.right(kind, "apple", "apricot")
    assert not grader.right(kind, "apple", "berry")
    assert not grader.right(kind, None, "apple") and not grader.right(kind, "apple", None)
    assert not grader.right(kind, "apple", "")


def test_threads_may_ask_at_once():
    kind, grader = Scripted(by_first_letter), Grader()
    keys = [f"{letter}{number}" for letter in "abcd" for number in range(8)]
    wrong: list[tuple[str, str]] = []

    def work() -> None:
        for a in keys:
            for b in keys:
                if grader.same(kind, a, b) != (a[0] == b[0]):
                    wrong.append((a, b))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
