"""The frontier: accuracy against cost of many policies, with intervals, each a link to its details."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

from escalade.report.comparisons import Curve
from escalade.report.drawing import PALETTE
from escalade.report.tables import write, write_interval

PER = 1000
"""Costs are drawn for so many problems; a problem's alone has too many zeros to read."""
_SPREAD = 4.0
"""From this ratio of the dearest to the cheapest on, costs are drawn on a logarithmic axis."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A policy as a point of the chart."""

    number: int
    name: str
    kind: str
    """route, strategy, reference or run."""
    anchor: str
    """The id of its details in the page."""
    accuracy: float
    accuracy_low: float | None
    accuracy_high: float | None
    cost: float
    """USD a problem."""
    cost_low: float | None
    cost_high: float | None
    on_frontier: bool

    @property
    def words(self) -> str:
        """What is said where it is pointed at."""
        right = write_interval(self.accuracy, self.accuracy_low, self.accuracy_high, "share")
        said = f"{self.number}. {self.name}: right {right}, {write(self.cost, 'usd')} USD a problem"
        return f"{said}; on the frontier" if self.on_frontier else said


class _Scale(NamedTuple):
    """An axis: its ends, and whether it is logarithmic."""

    low: float
    high: float
    log: bool

    def place(self, value: float, length: float) -> float:
        """Pixels from the low end."""
        if self.log:
            return (math.log(value) - math.log(self.low)) / (math.log(self.high) - math.log(self.low)) * length
        return (value - self.low) / (self.high - self.low) * length


_KINDS = {"route": "accent", "strategy": "plain", "reference": "ink", "run": "accent"}


def frontier_spec(marks: Sequence[Mark], width: int, height: int, curves: Sequence[Curve] = ()) -> dict[str, Any]:
    """Return the chart for a page of a width, in pixels of the plot; `curves` are drawn behind the points."""
    x, y = _cost_scale(marks), _accuracy_scale(marks)
    values = [
        {
            "x": mark.cost * PER,
            "y": mark.accuracy,
            "low": mark.accuracy if mark.accuracy_low is None else mark.accuracy_low,
            "high": mark.accuracy if mark.accuracy_high is None else mark.accuracy_high,
            "left": (mark.cost if mark.cost_low is None else max(mark.cost_low, x.low)) * PER,
            "right": (mark.cost if mark.cost_high is None else mark.cost_high) * PER,
            "kind": mark.kind,
            "words": mark.words,
            "href": f"#{mark.anchor}",
            "strong": _strong(mark),
        }
        for mark in marks
    ]
    cost = {
        "type": "quantitative",
        "scale": {"type": "log" if x.log else "linear", "domain": [x.low * PER, x.high * PER], "nice": False},
        "axis": {
            "title": f"cost of {PER} problems, USD" + (", logarithmic" if x.log else ""),
            "values": [tick * PER for tick in _ticks(x, 4 if width < 400 else 7)],
            "format": ".3~r",
            "labelOverlap": True,
        },
    }
    right = {
        "type": "quantitative",
        "scale": {"domain": [y.low, y.high], "nice": False},
        "axis": {"title": "answered right", "format": ".0%", "tickCount": 6},
    }
    kinds = [kind for kind in _KINDS if any(mark.kind == kind for mark in marks)]
    colour = {
        "field": "kind",
        "type": "nominal",
        "scale": {"domain": kinds, "range": [PALETTE[_KINDS[kind]] for kind in kinds]},
        "legend": {"symbolType": "circle", "symbolOpacity": 1} if len(kinds) > 1 else None,
    }
    quiet = {"condition": {"test": "datum.strong", "value": 0.55}, "value": 0.18}
    rule = {"mark": {"type": "rule", "strokeWidth": 1.5, "aria": False}}
    layers: list[dict[str, Any]] = [
        *(_curve(curve, cost, right) for curve in curves),
        {
            **rule,
            "encoding": {
                "x": {"field": "x", **cost},
                "y": {"field": "low", **right},
                "y2": {"field": "high"},
                "color": colour,
                "opacity": quiet,
            },
        },
        {
            **rule,
            "encoding": {
                "x": {"field": "left", **cost},
                "x2": {"field": "right"},
                "y": {"field": "y", **right},
                "color": colour,
                "opacity": quiet,
            },
        },
        {
            "mark": {
                "type": "line",
                "interpolate": "step-after",
                "strokeWidth": 1.5,
                "color": PALETTE["accent"],
                "aria": False,
            },
            "data": {"values": [{"x": m.cost * PER, "y": m.accuracy} for m in _steps(marks)]},
            "encoding": {"x": {"field": "x", **cost}, "y": {"field": "y", **right}, "order": {"field": "x"}},
        },
        {
            "mark": {
                "type": "point",
                "filled": True,
                "shape": "circle",
                "stroke": PALETTE["paper"],
                "strokeWidth": 1,
                "opacity": 1,
            },
            "encoding": {
                "x": {"field": "x", **cost},
                "y": {"field": "y", **right},
                "color": colour,
                "size": {"condition": {"test": "datum.strong", "value": 110}, "value": 55},
                "fillOpacity": {"condition": {"test": "datum.strong", "value": 1}, "value": 0.6},
                "description": {"field": "words"},
                "href": {"field": "href"},
            },
        },
        *_labels(marks, x, y, width, height),
    ]
    return {"width": width, "height": height, "data": {"values": values}, "layer": layers}


_PARTS = 8
"""Pieces in which a straight line is drawn on a logarithmic axis."""


def _curve(curve: Curve, cost: dict[str, Any], right: dict[str, Any]) -> dict[str, Any]:
    points = list(curve.points[:1])
    for (left, low), (up, high) in pairwise(curve.points):
        # Between two points policies are mixed: straight in cost, which a logarithmic axis bends.
        points += [(left + (up - left) * n / _PARTS, low + (high - low) * n / _PARTS) for n in range(1, _PARTS + 1)]
    return {
        "mark": {"type": "line", "strokeWidth": 1, "strokeDash": [4, 3], "color": PALETTE["line"], "clip": True},
        "data": {"values": [{"x": c * PER, "y": a, "words": curve.name} for c, a in points]},
        "encoding": {
            "x": {"field": "x", **cost},
            "y": {"field": "y", **right},
            "order": {"field": "x"},
            "description": {"field": "words"},
        },
    }


def _steps(marks: Sequence[Mark]) -> list[Mark]:
    return sorted((mark for mark in marks if mark.on_frontier), key=lambda mark: mark.cost)


def _cost_scale(marks: Sequence[Mark]) -> _Scale:
    costs = [mark.cost for mark in marks]
    ends = costs + [m.cost_high for m in marks if m.cost_high is not None]
    low, high = min(costs), max(ends)
    if low > 0 and high / low > _SPREAD:
        lows = [m.cost_low for m in marks if m.cost_low is not None and m.cost_low > low / 3]
        return _Scale(min([low, *lows]) / 1.15, high * 1.15, True)
    return _Scale(0.0, high * 1.08 or 1.0, False)


def _accuracy_scale(marks: Sequence[Mark]) -> _Scale:
    lows = [mark.accuracy if mark.accuracy_low is None else mark.accuracy_low for mark in marks]
    highs = [mark.accuracy if mark.accuracy_high is None else mark.accuracy_high for mark in marks]
    low = max(0.0, math.floor(min(lows) * 20 - 0.2) / 20)
    return _Scale(low, max(low + 0.05, min(1.0, math.ceil(max(highs) * 20 + 0.2) / 20)), False)


def _ticks(scale: _Scale, most: int) -> list[float]:
    """Round values on an axis: 1, 2, 5 in each decade, or steps of these."""
    if scale.log:
        first, last = math.floor(math.log10(scale.low)), math.ceil(math.log10(scale.high))
        for steps in ((1, 2, 3, 5), (1, 2, 5), (1, 3), (1,)):
            ticks = [s * 10.0**e for e in range(first, last + 1) for s in steps]
            found = [tick for tick in ticks if scale.low <= tick <= scale.high]
            if len(found) <= most:
                return found
        return found
    step = 10.0 ** math.floor(math.log10(scale.high / most))
    step *= next(s for s in (1, 2, 5, 10) if scale.high / (step * s) <= most)
    return [i * step for i in range(math.floor(scale.high / step) + 1)]


_LETTER, _LINE = 6.2, 13.0
"""Pixels that a letter and a line of a label take."""


def _labels(marks: Sequence[Mark], x: _Scale, y: _Scale, width: int, height: int) -> list[dict[str, Any]]:
    """Numbers and names beside points, where they overlap neither points nor other labels; else none."""
    at = {m.number: (x.place(m.cost, width), height - y.place(m.accuracy, height)) for m in marks}
    taken = [(px - 7, py - 7, px + 7, py + 7) for px, py in at.values()]
    taken += _lines(marks, x, y, width, height)
    placed: dict[str, list[dict[str, Any]]] = {"left": [], "right": []}
    first = sorted(marks, key=lambda m: (not m.on_frontier, m.kind != "reference", m.number))
    for mark in first:
        px, py = at[mark.number]
        names = [f"{mark.number}. {mark.name}", str(mark.number)] if width >= 400 else [str(mark.number)]
        if not (_strong(mark) or mark.kind == "run"):
            continue
        place = next((p for name in names for p in _places(name, px, py) if _free(p, taken, width, height)), None)
        if place is not None:
            taken.append(place.box)
            value = {"px": place.x, "py": place.y, "said": place.said}
            placed[place.align].append(value)
    text = {"type": "text", "baseline": "middle", "fontSize": 11, "aria": False}
    halo = {**text, "stroke": PALETTE["paper"], "strokeWidth": 3, "color": PALETTE["paper"]}
    return [
        {
            "data": {"values": values},
            "mark": {**mark, "align": align},
            "encoding": {
                "x": {"field": "px", "type": "quantitative", "scale": None, "axis": None},
                "y": {"field": "py", "type": "quantitative", "scale": None, "axis": None},
                "text": {"field": "said"},
            },
        }
        for align, values in placed.items()
        for mark in (halo, text)
        if values
    ]


def _lines(
    marks: Sequence[Mark], x: _Scale, y: _Scale, width: int, height: int
) -> list[tuple[float, float, float, float]]:
    """Boxes around the frontier's line and the intervals that stand out."""
    boxes: list[tuple[float, float, float, float]] = []
    steps = [(x.place(m.cost, width), height - y.place(m.accuracy, height)) for m in _steps(marks)]
    for (left, below), (right, above) in pairwise(steps):
        boxes += [(left, below - 2, right, below + 2), (right - 2, above, right + 2, below)]
    for mark in filter(_strong, marks):
        px, py = x.place(mark.cost, width), height - y.place(mark.accuracy, height)
        if mark.accuracy_low is not None and mark.accuracy_high is not None:
            ends = [height - y.place(end, height) for end in (mark.accuracy_high, mark.accuracy_low)]
            boxes.append((px - 2, ends[0], px + 2, ends[1]))
        if mark.cost_low is not None and mark.cost_high is not None:
            ends = [x.place(end, width) for end in (max(mark.cost_low, x.low), mark.cost_high)]
            boxes.append((ends[0], py - 2, ends[1], py + 2))
    return boxes


def _strong(mark: Mark) -> bool:
    """Whether a point stands out."""
    return mark.on_frontier or mark.kind == "reference"


class _Place(NamedTuple):
    """Where a label may stand."""

    said: str
    x: float
    y: float
    align: str
    box: tuple[float, float, float, float]


def _places(said: str, px: float, py: float) -> list[_Place]:
    long, half = len(said) * _LETTER, _LINE / 2
    out: list[_Place] = []
    for dy in (0.0, -11.0, 11.0, -18.0, 18.0, -26.0, 26.0):
        out.append(_Place(said, px + 10, py + dy, "left", (px + 9, py + dy - half, px + 12 + long, py + dy + half)))
        out.append(_Place(said, px - 10, py + dy, "right", (px - 12 - long, py + dy - half, px - 9, py + dy + half)))
    return out


def _free(place: _Place, taken: Sequence[tuple[float, float, float, float]], width: int, height: int) -> bool:
    left, top, right, bottom = place.box
    if left < 0 or right > width or top < 0 or bottom > height:
        return False
    return not any(left < r and right > le and top < b and bottom > t for le, t, r, b in taken)
