"""How numbers and tables are written on the page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmarks.recorded.verdicts import Point
from escalade.statistics.intervals import Difference


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table.

    Example:
        >>> print(table(["a", "b"], [["1", "2"]]))
        | a | b |
        |---|---|
        | 1 | 2 |
    """
    body = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([f"| {' | '.join(head)} |", "|" + "---|" * len(head), *body])


def share(value: float) -> str:
    """Return a share with four digits, as .8152 or 1.0000."""
    return f"{value:.4f}".replace("0.", ".", 1) if value < 1 else f"{value:.4f}"


def usd(value: float) -> str:
    """Return an amount of money with three digits."""
    return f"{value:.3f}"


def at(found: Point) -> str:
    """Return accuracy @ cost."""
    return f"{share(found.accuracy)} @ {usd(found.cost)}"


def points(value: float) -> str:
    """Return a difference of shares in points of accuracy, one digit and its sign; 0.0 has none.

    Example:
        >>> points(0.0123), points(-0.0001)
        ('+1.2', '0.0')
    """
    text = f"{100 * value:+.1f}"
    return "0.0" if float(text) == 0 else text


def interval(difference: Difference) -> str:
    """Return a difference in points with its interval."""
    return f"{points(difference.value)} [{points(difference.interval.low)}, {points(difference.interval.high)}]"


def percent(value: float) -> str:
    """Return a share in whole percent."""
    return f"{100 * value:.0f} %"


def span(values: Sequence[float]) -> str:
    """Return the range of some shares, empty where it is not wider than a tenth of a point."""
    if not values or max(values) - min(values) <= 0.001:
        return ""
    return f" {{{share(min(values))}, {share(max(values))}}}"
