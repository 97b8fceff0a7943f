"""Groups of near-duplicate problems, which must not be parted when some choose a policy and others test it.

Two problems are near-duplicates when the sets of their word 5-grams overlap (Jaccard index; candidates by MinHash,
Broder 1997, each checked exactly), directly or through others. 5-grams that more than a tenth of the problems have,
and more than ten of them, are left out: they are a form ("How many ... are there in total"), not a premise.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from escalade.errors import ProblemError, SettingError, nearest
from escalade.problems import ID, Problem, read_table
from escalade.wording import counted

WORDS = 5
"""Words of a gram."""
FORM = 0.1
"""Share of the problems from which on a gram is a form that many share."""
FEW = 10
"""Problems that a gram may be shared by in any case."""
_PERMUTATIONS = 64


def near_duplicates(texts: Sequence[str], threshold: float = 0.5) -> list[int]:
    """Return the group of each text: the position of its first member.

    Args:
        texts: of the problems.
        threshold: Jaccard index from which on two texts are near-duplicates, in (0, 1].

    Raises:
        SettingError: the threshold is out of range, or datasketch is not installed.

    Example:
        >>> near_duplicates([
        ...     "Tom has 3 red apples and eats one of them every day. How many are left?",
        ...     "A train leaves at noon and another one at two.",
        ...     "Tom has 3 red apples and eats one of them every day. When are all gone?",
        ... ])
        [0, 1, 0]
    """
    if not 0 < threshold <= 1:
        raise SettingError(f"threshold of near-duplicates is {threshold!r}: give a number in (0, 1]")
    try:
        from datasketch import MinHash, MinHashLSH
    except ImportError as error:
        raise SettingError(
            "finding near-duplicate problems needs datasketch: pip install 'escalade[evaluation]', or name a column "
            "of groups"
        ) from error
    grams = _without_forms([_grams(text) for text in texts])
    first = list(range(len(texts)))

    def root(place: int) -> int:
        while first[place] != place:
            first[place] = first[first[place]]
            place = first[place]
        return place

    # A candidate too many is checked and dropped; one too few parts a pair.
    index = MinHashLSH(threshold=threshold, num_perm=_PERMUTATIONS, weights=(0.1, 0.9))
    hashes = MinHash.bulk([[gram.encode() for gram in sorted(own)] for own in grams], num_perm=_PERMUTATIONS)
    for place, hashed in enumerate(hashes):
        for other in index.query(hashed):
            if len(grams[place] & grams[other]) >= threshold * len(grams[place] | grams[other]):
                low, high = sorted((root(place), root(other)))
                first[high] = low
        index.insert(place, hashed)
    return [root(place) for place in range(len(texts))]


def groups_of(problems: Sequence[Problem]) -> tuple[list[int], str]:
    """Return the group of near-duplicates of each problem, and a note of how they were found.

    Where a problem has no text each is a group of its own.

    Example:
        >>> groups_of([Problem("a", "What is 1 + 1?"), Problem("b", "Name a prime."), Problem("c", "What is 1 + 1?")])
        ([0, 1, 0], '3 problems in 2 groups of near-duplicates')
    """
    texts = [problem.text for problem in problems]
    if not all(texts):
        return list(range(len(texts))), (
            f"no text in {sum(not text for text in texts)} of {counted(len(texts), 'problem')}, so that "
            "near-duplicates cannot be found: each problem counts as a group of its own (give texts with --problems, "
            "or --group COLUMN)"
        )
    found = near_duplicates(texts)
    return found, f"{counted(len(texts), 'problem')} in {counted(len(set(found)), 'group')} of near-duplicates"


def groups_in(path: str | Path, column: str, problems: Sequence[Problem]) -> list[str]:
    """[N] the group of each problem, from a column of the problems' file.

    Raises:
        ProblemError: no such column, no id, or a problem without a row.
    """
    table = read_table(Path(path))
    name = next((name for name in ID if name in table), None)
    if name is None or column not in table:
        known = [str(c) for c in table]
        lacking = column if name is not None else "id"
        raise ProblemError(f"{path} has no column {lacking!r}; it has {', '.join(known)}{nearest(lacking, known)}")
    rows = dict(zip(table[name].map(str), table[column].map(str), strict=True))
    missing = next((problem.id for problem in problems if problem.id not in rows), None)
    if missing is not None:
        raise ProblemError(f"{path} has no row for problem {missing!r}: every problem needs its {column}")
    empty = table[name][table[column].isna()].map(str).tolist()
    if empty:
        raise ProblemError(
            f"{path}: problem {empty[0]!r} has no {column} ({counted(len(empty), 'such row')}): name its group; one "
            "that stands alone has a group of its own"
        )
    return [rows[problem.id] for problem in problems]


def _grams(text: str) -> set[str]:
    words = re.findall(r"\w+", text.lower())
    return {" ".join(words[i : i + WORDS]) for i in range(max(1, len(words) - WORDS + 1))}


def _without_forms(grams: list[set[str]]) -> list[set[str]]:
    """Leave out grams that many share; a text that has no others keeps them."""
    spread = Counter(gram for own in grams for gram in own)
    most = max(FEW, FORM * len(grams))
    return [{gram for gram in own if spread[gram] <= most} or own for own in grams]
