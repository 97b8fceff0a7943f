from dataclasses import replace
from pathlib import Path

from escalade.samples.audit import findings
from escalade.samples.merging import Contents, Merged, contents, merge
from escalade.samples.sample import Generation
from escalade.samples.store import Attempt, Key, Question, Store, Stored
from escalade.samples.verdicts import Verdict, Verdicts

KEY = Key("p", "m", "t")


def sample(index: int, text: str = "", *, seed: int | None = None, key: Key = KEY, tokens: int = 1) -> Stored:
    made = Generation(text, completion_tokens=tokens)
    return Stored(key, index, index if seed is None else seed, "p1", "M", 0.7, "job", made)


def merged(path: Path, source: Contents) -> Merged:
    with Store(path) as store:
        verdicts = Verdicts(path)
        done = merge(store, verdicts, source)
        verdicts.close()
    return done


def rows(path: Path) -> tuple[list[Stored], list[Attempt], list[Verdict], list[Question]]:
    with Store(path) as store:
        verdicts = Verdicts(path)
        whole = contents(store, verdicts)
        out = list(whole.samples), list(whole.attempts), list(whole.verdicts), list(whole.questions)
        verdicts.close()
    return out


def test_new_equal_and_conflicting_samples_each_have_their_place(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    merged(path, Contents([sample(0, "a"), sample(1, "b")]))
    done = merged(path, Contents([sample(0, "a"), sample(1, "other", tokens=9), sample(2, "c")]))
    assert (done.added, done.equal, len(done.conflicts)) == (1, 1, 1)
    assert str(done.conflicts[0]) == "M t0.7, problem 'p1', sample 1: another generation is there"
    samples, attempts, _, _ = rows(path)
    assert [s.generation.text for s in samples] == ["a", "b", "c"]  # the first stays
    assert [(a.index, a.kind, a.completion_tokens, a.job) for a in attempts] == [(1, "cancelled", 9, "job")]
    assert findings(path) == []


def test_merging_again_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    merged(path, Contents([sample(0, "a")]))
    source = Contents(
        [sample(0, "other"), sample(0, "third", seed=9), sample(1, "b")],
        [Attempt(KEY, 0, "error", "down"), Attempt(KEY, 0, "error", "down"), Attempt(KEY, 3, "cancelled", "", "j", 1)],
        [Verdict("math", "1", "one", True, None)],
        [Question("p", "1+1?", "2")],
    )
    first = merged(path, source)
    assert (first.added, len(first.conflicts), first.attempts, first.verdicts, first.questions) == (1, 2, 3, 1, 1)
    assert all(conflict.new for conflict in first.conflicts)
    there = rows(path)
    again = merged(path, source)
    assert (again.added, again.equal, again.attempts, again.verdicts, again.questions) == (0, 1, 0, 0, 0)
    assert [conflict.new for conflict in again.conflicts] == [False, False]  # said again, kept once
    assert rows(path) == there
    assert len(there[1]) == 5


def test_v8_a_seed_that_is_taken_is_a_conflict_and_no_second_vote(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    merged(path, Contents([sample(0, "a", seed=7)]))
    done = merged(path, Contents([sample(4, "a", seed=7)]))
    assert str(done.conflicts[0]).endswith("sample 4: its seed 7 is that of sample 0, another one")
    samples, attempts, _, _ = rows(path)
    assert len(samples) == 1 and [a.index for a in attempts] == [4]
    assert findings(path) == []


def test_of_equal_attempts_the_larger_number_stays(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    down = Attempt(KEY, 0, "error", "down")
    merged(path, Contents([], [down] * 2))
    assert merged(path, Contents([], [down] * 3)).attempts == 1
    assert merged(path, Contents([], [down])).attempts == 0
    assert rows(path)[1] == [down] * 3


def test_a_source_may_name_a_sample_twice(tmp_path: Path) -> None:
    done = merged(tmp_path / "s.sqlite", Contents([sample(0, "a"), sample(0, "a"), sample(0, "b")]))
    assert (done.added, done.equal, len(done.conflicts)) == (1, 1, 1)


def test_keys_problem_ids_and_jobs_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    given = [replace(sample(i, key=Key("p", "m", t)), job=f"job {t}") for t in "ab" for i in range(3)]
    merged(path, Contents(reversed(given)))
    assert rows(path)[0] == given


def test_the_first_verdict_and_the_first_text_stay(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    merged(path, Contents([], [], [Verdict("m", "a", "b", True, None)], [Question("p", "text", "1")]))
    done = merged(path, Contents([], [], [Verdict("m", "a", "b", False, "why")], [Question("p", "other", "2")]))
    assert (done.verdicts, done.questions) == (0, 0)
    assert rows(path)[2:] == ([Verdict("m", "a", "b", True, None)], [Question("p", "text", "1")])
