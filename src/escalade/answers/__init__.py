"""From a generated text to its answer, and from answers to classes of equal answers.

Needs the standard library only, evaluates nothing, and takes every text for hostile.
"""

from escalade.answers.canonical import key, sort_key
from escalade.answers.equality import classes, equal, grade
from escalade.answers.extract import Answer, extract

__all__ = ["Answer", "classes", "equal", "extract", "grade", "key", "sort_key"]
