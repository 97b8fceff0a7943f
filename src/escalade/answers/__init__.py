"""From a generated text to its answer, and from answers to classes of equal answers.

Evaluates nothing, and takes every text for hostile: what keys cannot tell is asked of processes that can be killed.
"""

from escalade.answers.equality import classes, equal, extract, grade, key
from escalade.answers.extract import Answer

__all__ = ["Answer", "classes", "equal", "extract", "grade", "key"]
