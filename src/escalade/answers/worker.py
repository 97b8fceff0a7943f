r"""The worker process: reads pairs of canonical keys, writes a verdict on each, and can be killed at any time.

Started by `symbolic`. One JSON line a message: in comes `[number, seconds, a, b]`, out goes `"warming"` (heavy
libraries are being imported, a pair has to wait), `"ready"`, or `[number, verdict, sound]`, the last telling whether
the process is fit for another pair. It ends at the end of its input.

The decision takes keys apart as `canonical` wrote them (tuples, sets, lists, unions, matrices, relations) and
compares parts by value (`numeric`). Sums over an index, products, integrals and limits are read by latex2sympy's
grammar and worked out by sympy, then compared by value too; `verify` of math-verify, on the same grammar, is neither
symmetric nor transitive, and rounds.

Text is parsed by grammars, never run as code; should a library ever try, an audit hook lets this process start no
program, open no connection and change no file.
"""

from __future__ import annotations

import json
import os
import re
import resource
import select
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from typing import Any, NamedTuple

from escalade.answers import numeric
from escalade.answers.formula import Node, Number, Product, Sum, parse
from escalade.answers.symbolic import Verdict

SOON = 0.02  # seconds to wait for a first pair before heavy libraries are imported without need
_DEEPEST = 12
_MOST_PAIRS = 400  # of members of two sets

_SIGNS = re.compile(r"\\[a-zA-Z]+|\\.|, ?|[()\[\]{}&=<>]", re.DOTALL)
_RELATIONS = {"=": "=", "<": "<", ">": ">", "\\leq": "<=", "\\geq": ">=", "\\neq": "!="}
_MIRRORED = {"<": ">", "<=": ">="}
_MATRIX = re.compile(r"\\begin\{([vV]?matrix)\}(.*)\\end\{\1\}", re.DOTALL)
_OPENING, _CLOSING = frozenset(["(", "[", "{", "\\{"]), frozenset([")", "]", "}", "\\}"])

_LONG_OPERATOR = re.compile(r"\\(?:sum|prod|int|lim)(?![a-zA-Z])")
_COMMAND = re.compile(r"\\([a-zA-Z]+)")
_COMMANDS = """
sum prod int lim frac sqrt binom pi infty rightarrow cdot sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh
ln exp alpha beta gamma theta lambda mu phi
"""
_UNDERSTOOD = frozenset(_COMMANDS.split())
_DIFFERENTIAL = re.compile(r"d[a-z](?![a-zA-Z])")
_UNCLEAR = re.compile(r"[a-zA-Z]{3}|[0-9)}]_|[^\x20-\x7e]|[\"'$%&#@;:?~`|,<>\[\]]|!!|\.\.|\\[^a-zA-Z]")
_MIXED = re.compile(r"(?<![\^_0-9.])[0-9]+ ?\\frac\{[0-9]+\}\{[0-9]+\}")
_DECIMAL = re.compile(r"([0-9]*)\.([0-9]+)")
_AGREED = 45  # digits
_GREEK = {name: f"\\{name}" for name in ("alpha", "beta", "gamma", "theta", "lambda", "mu", "phi")}
_REFUSED = (
    "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "subprocess.", "pty.", "socket.",
    "os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.chown",
    "os.kill", "shutil.", "webbrowser.", "urllib.",
)  # fmt: skip


class Shape(NamedTuple):
    """What a key is made of: its kind with the signs that count, and the keys of its parts."""

    kind: str
    parts: tuple[str, ...]


def shape(key: str) -> Shape:
    r"""Take the outermost layer off a canonical key.

    >>> shape("[1,2)"), shape("{a,b}"), shape("x+1")
    (Shape(kind='[)', parts=('1', '2')), Shape(kind='set', parts=('a', 'b')), Shape(kind='', parts=('x+1',)))
    >>> shape(r"(0,1)\cup(2,3)"), shape("1, 1, 2")
    (Shape(kind='union', parts=('(0,1)', '(2,3)')), Shape(kind='list', parts=('1', '1', '2')))
    """
    if matrix := _MATRIX.fullmatch(key):
        if "\\begin" in matrix[2]:
            return Shape("", (key,))
        rows = [row.split("&") for row in matrix[2].split("\\\\")]
        return Shape(f"{matrix[1]} {[len(row) for row in rows]}", tuple(cell for row in rows for cell in row))
    if key[:1] in ("(", "[", "{") and key[-1:] in (")", "]", "}"):
        inside, signs = _split(key[1:-1], (",",))
        if len(inside) > 1 and signs is not None:
            return Shape("set" if key[0] == "{" else key[0] + key[-1], inside)
    for kind, found in (("list", (", ",)), ("union", ("\\cup",))):
        pieces, signs = _split(key, found)
        if signs:
            return Shape("row" if "..." in key else kind, pieces)
    pieces, signs = _split(key, tuple(_RELATIONS))
    if signs:
        return Shape(" ".join(_RELATIONS[sign] for sign in signs), pieces)
    return Shape("", (key,))


def decide(a: str, b: str, depth: int = 0) -> bool | None:
    r"""Say whether two canonical keys are one answer; None when that cannot be told within bounds.

    >>> decide(r"\sin 30\degree", "0.5"), decide("(0.5,1)", r"(0.5,\sqrt{4})"), decide("sunday", "monday")
    (True, False, False)
    """
    if a == b:
        return True
    if depth > _DEEPEST:
        return None
    one, other = shape(a), shape(b)
    if one.kind in _MIRRORED and other.kind == _MIRRORED[one.kind]:
        one = Shape(other.kind, one.parts[::-1])
    elif other.kind in _MIRRORED and one.kind == _MIRRORED[other.kind]:
        other = Shape(one.kind, other.parts[::-1])
    if one.kind != other.kind:
        return False
    match one.kind:
        case "":
            return _scalars(a, b)
        case "set" | "union":
            return _same_members(one.parts, other.parts, depth)
        case "list":
            return _same_lists(one.parts, other.parts, depth)
        case "=" | "!=" | "<" | ">" | "<=" | ">=":
            return _same_relation(one, other, depth)
    return _pairwise(one.parts, other.parts, depth)


def _split(text: str, signs: tuple[str, ...]) -> tuple[tuple[str, ...], list[str] | None]:
    """Split at given signs outside of brackets, also telling them; (text,), None when brackets do not match."""
    pieces: list[str] = []
    found: list[str] = []
    begin, level = 0, 0
    for match in _SIGNS.finditer(text):
        sign = match[0]
        if sign in _OPENING:
            level += 1
        elif sign in _CLOSING:
            level -= 1
            if level < 0:
                return (text,), None
        elif level == 0 and sign in signs:
            pieces.append(text[begin : match.start()])
            found.append(sign)
            begin = match.end()
    pieces.append(text[begin:])
    return ((text,), None) if level or not all(pieces) else (tuple(pieces), found)


def _pairwise(a: Sequence[str], b: Sequence[str], depth: int) -> bool | None:
    if len(a) != len(b):
        return False
    return _all(decide(x, y, depth + 1) for x, y in zip(a, b, strict=True))


def _all(verdicts: Iterable[bool | None]) -> bool | None:
    known: bool | None = True
    for verdict in verdicts:
        if verdict is False:
            return False
        known = known and verdict
    return known


def _same_members(a: Sequence[str], b: Sequence[str], depth: int) -> bool | None:
    """Each member of one set is a member of the other: what is written twice in two ways counts once."""
    table = _table(a, b, depth)
    return None if table is None else _all(map(_one_of, [*table, *zip(*table, strict=True)]))


def _same_lists(a: Sequence[str], b: Sequence[str], depth: int) -> bool | None:
    """The same members the same number of times, in any order."""
    if len(a) != len(b):
        return False
    table = _table(a, b, depth)
    if table is None or any(cell is None for row in table for cell in row):
        return None
    # Equality by value is transitive, so two rows with a common column are one row.
    return all(sum(map(bool, row)) == sum(other == row for other in table) > 0 for row in table)


def _table(a: Sequence[str], b: Sequence[str], depth: int) -> list[list[bool | None]] | None:
    return [[decide(x, y, depth + 1) for y in b] for x in a] if len(a) * len(b) <= _MOST_PAIRS else None


def _one_of(verdicts: Iterable[bool | None]) -> bool | None:
    found = list(verdicts)
    return True if True in found else None if None in found else False


def _same_relation(a: Shape, b: Shape, depth: int) -> bool | None:
    """Compare two relations: one is the other times a constant (positive, for an inequality), side minus side."""
    sides = [parse(side) for side in (*a.parts, *b.parts)]
    if any(side is None for side in sides):
        return _pairwise(a.parts, b.parts, depth)
    left, right, other_left, other_right = (side for side in sides if side is not None)
    names = numeric.variables(left) | numeric.variables(right)
    if names != numeric.variables(other_left) | numeric.variables(other_right) or not names:
        return _pairwise(a.parts, b.parts, depth)
    return numeric.proportional(
        _difference(left, right), _difference(other_left, other_right), signed=a.kind not in ("=", "!=")
    )


def _difference(a: Node, b: Node) -> Node:
    return Sum((a, Product((Number(Fraction(-1)), b))))


def _scalars(a: str, b: str) -> bool | None:
    first, second = parse(a), parse(b)
    if first is not None and second is not None:
        return numeric.same(first, second)
    if not _LONG_OPERATOR.search(a) and not _LONG_OPERATOR.search(b):
        return False
    if (first is None and not _clear(a)) or (second is None and not _clear(b)):
        return False
    return _same_worked_out(first or _expression(a), second or _expression(b))


def _clear(text: str) -> bool:
    """Whether a formula has nothing in it that latex2sympy is known to read as something else."""
    letters = _DIFFERENTIAL.sub("", _COMMAND.sub(" ", text))
    known = all(command in _UNDERSTOOD for command in _COMMAND.findall(text))
    return known and not _UNCLEAR.search(letters) and not _MIXED.search(text) and _split(text, ())[1] is not None


def _same_worked_out(a: Any, b: Any) -> bool | None:
    """Compare two scalars by value, formulas (Node) or expressions of sympy; variables at positive places only."""
    if a is None or b is None:
        return None
    names = sorted(_names(a) | _names(b))
    for point in range(numeric.NEEDED if names else 1):
        place = {name: abs(numeric.coordinate(name, point)) for name in names}
        one, other = _value(a, place), _value(b, place)
        if one is None or other is None:
            return None
        if not numeric.close(one, other, _AGREED):
            return False
    return True


def _expression(text: str) -> Any:
    """Parse one scalar formula by latex2sympy's grammar and work it out; None where that reads no scalar."""
    from latex2sympy2_extended.latex2sympy2 import latex2sympy
    from sympy import Expr, I, Symbol

    # Decimals as fractions, for floats are compared by six places; in brackets, for behind the end nothing is read.
    exact = _DECIMAL.sub(lambda m: f"(\\frac{{{m[1]}{m[2]}}}{{{10 ** len(m[2])}}})", text)
    read = latex2sympy(f"({exact})", is_real=True, normalization_config=None)
    if not isinstance(read, Expr):
        return None
    meant = {
        symbol: I if str(symbol) == "i" else Symbol(str(symbol), integer=True, positive=True)
        for symbol in read.free_symbols
        if numeric.is_integer(str(symbol))
    }
    return read.subs(meant).doit()


def _names(side: Any) -> set[str]:
    if isinstance(side, Node):
        return numeric.variables(side)
    return {_GREEK.get(str(symbol), str(symbol)) for symbol in side.free_symbols}


def _value(side: Any, place: dict[str, Fraction]) -> Any:
    if isinstance(side, Node):
        return numeric.at(side, place)
    from sympy import Float, Rational

    numbers = {symbol: place[_GREEK.get(str(symbol), str(symbol))] for symbol in side.free_symbols}
    value = side.subs({symbol: Rational(*number.as_integer_ratio()) for symbol, number in numbers.items()})
    parts = value.evalf(numeric.DIGITS).as_real_imag()
    if not all(part.is_Number and part.is_finite for part in parts):
        return None
    return numeric.read(*(str(Float(part, numeric.DIGITS)) for part in parts))


def main(memory: int) -> None:
    """Serve pairs from standard input until it ends, within so many bytes of address space."""
    source, sink = os.dup(0), os.dup(1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):  # no library's print gets among the messages
        os.dup2(nowhere, stream)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(ValueError, OSError):  # not every system has this limit
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    server = _Server(source, sink)
    with suppress(BrokenPipeError):
        server.serve()


class _Server:
    """The loop of the process; `warm` once the heavy libraries are imported."""

    def __init__(self, source: int, sink: int) -> None:
        self.source = source
        self.sink = sink
        self.warm = False
        self.processor = resource.getrlimit(resource.RLIMIT_CPU)

    def serve(self) -> None:
        self.say("ready")
        for number, seconds, a, b in self.pairs():
            # An orphan ends by itself: nobody is left to kill it.
            soft, hard = self.processor
            until = int(time.process_time() + seconds) + 2
            resource.setrlimit(resource.RLIMIT_CPU, (until if soft < 0 else min(until, soft), hard))
            verdict, sound = self.verdict(a, b)
            resource.setrlimit(resource.RLIMIT_CPU, self.processor)
            self.say([number, verdict, sound])
            if not sound:
                return

    def pairs(self) -> Iterator[tuple[int, float, str, str]]:
        waiting = b""
        while True:
            while b"\n" in waiting:
                line, waiting = waiting.split(b"\n", 1)
                number, seconds, a, b = json.loads(line)
                begun = time.monotonic()
                if not self.warm and (_LONG_OPERATOR.search(a) or _LONG_OPERATOR.search(b)):
                    self.warm_up()
                    if time.monotonic() - begun > seconds:  # nobody waits for this one any more
                        continue
                yield number, seconds, a, b
            if not self.warm and not select.select([self.source], [], [], SOON)[0]:
                self.warm_up()
            chunk = os.read(self.source, 1 << 16)
            if not chunk:
                return
            waiting += chunk

    def warm_up(self) -> None:
        self.say("warming")
        self.warm = True
        with suppress(ImportError):
            _expression("\\sum_{k=1}^{2} k")
        # From here on libraries see hostile text. Imports still to come may not leave their bytecode.
        sys.dont_write_bytecode = True
        sys.addaudithook(_refuse)
        self.say("ready")

    def verdict(self, a: str, b: str) -> tuple[Verdict, bool]:
        """Decide a pair; also tell whether the process is fit for another."""
        try:
            equal = decide(a, b)
        except MemoryError:
            return Verdict.FAILED, False
        except Exception:  # whatever a library raises on a hostile text
            return Verdict.FAILED, True
        return (Verdict.FAILED if equal is None else Verdict.EQUAL if equal else Verdict.DIFFERENT), True

    def say(self, message: object) -> None:
        os.write(self.sink, json.dumps(message).encode() + b"\n")


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    """Audit hook: no programs, no connections, no changed files."""
    writes = event == "open" and isinstance(arguments[1], str) and not set("wax+").isdisjoint(arguments[1])
    if writes or event.startswith(_REFUSED):
        raise PermissionError(f"{event} is refused in a worker process")
