"""Features of a problem's text: how long it is, which numbers and signs it has, which words (TF-IDF).

They cost nothing to read. Words are those of the training problems that at least two of them have; as no label is
looked at, they are gathered once and not for every fold anew.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from escalade.errors import SettingError
from escalade.probes.ridge import Floats, Matrix

WORDS = 2000
"""Words, and pairs of neighbouring words, that are looked for at most: those that most problems have."""
_ROWS = 10_000
_TOKEN = re.compile(r"\\?[^\W\d_]+|[-+*/=^<>%$]")
_NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?", re.ASCII)
_SENTENCE = re.compile(r"[.?!](?:\s|$)")
_COMMAND = re.compile(r"\\[A-Za-z]+", re.ASCII)
_SIGNS = "+-*/=^<>"

NAMES = (
    "characters",
    "words",
    "word length",
    "sentences",
    "numbers",
    "distinct numbers",
    "numbers of 1 digit",
    "numbers of 2 digits",
    "numbers of 3 digits and more",
    "decimals",
    "largest number",
    "percent signs",
    "currency signs",
    "operators",
    "LaTeX commands",
    "question marks",
)
"""What the features in front of the words are: ln(1 + count), but for the mean length of a word."""


@dataclass(frozen=True)
class TextFeatures:
    """Which words are looked for, and how rare each is.

    Example:
        >>> features = TextFeatures.of(["Add 12 and 3.", "Add 4 and 5.", "Halve 8."])
        >>> features.words, features.values(["Add 7 and 7."]).shape
        (('add', 'add and', 'and'), (1, 19))
    """

    words: tuple[str, ...]
    idf: Floats
    """[V] ln((1 + n) / (1 + problems that have the word)) + 1."""

    @classmethod
    def of(cls, texts: Sequence[str]) -> TextFeatures:
        """Return the features of these texts.

        Raises:
            SettingError: scikit-learn is not installed.
        """
        counter = _counter(analyzer=_words, min_df=min(2, len(texts)), max_features=WORDS)
        try:
            counts = counter.fit_transform(texts)
        except ValueError:  # no word is in two of them
            return cls((), np.zeros(0))
        having = np.asarray((counts > 0).sum(axis=0)).ravel()
        return cls(tuple(counter.get_feature_names_out()), np.log((1 + len(texts)) / (1 + having)) + 1)

    def values(self, texts: Sequence[str]) -> Matrix:
        """Return the features [N, 16 + V]: those of `NAMES`, then (1 + ln tf) idf, of length 1 a problem."""
        return np.hstack([shape_of(texts), self._weighted(texts).toarray()]).astype(np.float32)

    def line(self, texts: Sequence[str], weights: Floats) -> Floats:
        """Return values(texts) @ weights [N] without writing the values out; memory does not grow with N."""
        dense, out = len(NAMES), np.empty(len(texts))
        for start in range(0, len(texts), _ROWS):
            some = texts[start : start + _ROWS]
            out[start : start + _ROWS] = shape_of(some) @ weights[:dense] + self._weighted(some) @ weights[dense:]
        return out

    def _weighted(self, texts: Sequence[str]) -> Any:
        """[N, V], sparse."""
        from scipy import sparse

        if not self.words:
            return sparse.csr_matrix((len(texts), 0))
        known = frozenset(self.words)  # words that are not known are left out at once, which is twice as fast
        counter = _counter(
            analyzer=lambda text: [word for word in _words(text) if word in known], vocabulary=self.words
        )
        counts = counter.transform(texts).astype(np.float64)
        counts.data = (1 + np.log(counts.data)) * self.idf[counts.indices]
        lengths = np.sqrt(np.asarray(counts.multiply(counts).sum(axis=1)).ravel())
        counts.data /= np.repeat(np.where(lengths > 0, lengths, 1.0), np.diff(counts.indptr))
        return counts


def shape_of(texts: Sequence[str]) -> Floats:
    """Return the features [N, 16] that `NAMES` names.

    Example:
        >>> dict(zip(NAMES, np.expm1(shape_of(["What is 20% of 1,500 + 3?"])[0]).round().tolist()))["numbers"]
        3.0
    """
    out = np.empty((len(texts), len(NAMES)))
    for row, text in enumerate(texts):
        out[row] = _shape(text)
    np.log1p(out, out=out, where=np.array([name != "word length" for name in NAMES]))
    return out


def _shape(text: str) -> list[float]:
    words = text.split()
    numbers = _NUMBER.findall(text)
    digits = [len(number.partition(".")[0].replace(",", "")) for number in numbers]
    largest = max((float(number.replace(",", "")) for number in numbers), default=0.0)
    return [
        len(text),
        len(words),
        len(text) / max(1, len(words)),
        len(_SENTENCE.findall(text)),
        len(numbers),
        len(set(numbers)),
        digits.count(1),
        digits.count(2),
        sum(count > 2 for count in digits),
        sum("." in number for number in numbers),
        min(largest, 1e15),
        text.count("%"),
        text.count("$") + text.count("€") + text.count("£"),
        sum(map(text.count, _SIGNS)),
        len(_COMMAND.findall(text)),
        text.count("?"),
    ]


def _counter(**settings: Any) -> Any:
    try:
        from sklearn.feature_extraction.text import CountVectorizer
    except ImportError as error:
        raise SettingError("text features need scikit-learn: pip install 'escalade[probes]'") from error
    return CountVectorizer(**settings)


def _words(text: str) -> list[str]:
    """Words and signs, and pairs of neighbours."""
    single = _TOKEN.findall(text.lower())
    return single + list(map(" ".join, pairwise(single)))
