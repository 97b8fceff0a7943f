"""Figures of one run: tables of `measures` as Vega-Lite specifications."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from escalade.report import measures
from escalade.report.drawing import PALETTE
from escalade.report.runs import Run
from escalade.report.tables import Table, write, write_interval
from escalade.wording import counted

WIDTH = 300
"""Width of the plot of a small chart, in pixels: with its axes it fits a phone of 360."""
_DRAWN = 6
"""Tiers drawn one below the other; a table has all."""


@dataclass(frozen=True)
class Figure:
    """A chart and the table that has its numbers."""

    name: str
    title: str
    caption: str
    table: Table
    specs: tuple[dict[str, Any], ...]
    """For a wide page and a narrow one, or one for both; none where there is nothing to draw."""


def figures_of(run: Run) -> tuple[Figure, ...]:
    """Return the charts of a run that have something to show."""
    makers: tuple[tuple[Callable[[Run], Table], Callable[[Table], dict[str, Any]], str], ...] = (
        (measures.flow, _flow, "What each tier did with the problems that came to it."),
        (measures.decided, _decided, "Share right of the answers that each tier owns, with 95 % intervals."),
        (measures.costs, _costs, "Share of the money spent at each tier."),
        (
            measures.reliability,
            _reliability,
            "On the diagonal, agreement means what it says. Filled: whole ballots; hollow: settled early.",
        ),
        (measures.shares, _shares, "Ballots by the leader's share of the votes."),
        (measures.entropies, _entropies, "Ballots by entropy: 0 is unanimous, 1 bit an even split in two."),
        (measures.savings, _savings, "Seats drawn, cancelled under way, and saved."),
    )
    figures = (_figure(run, *maker) for maker in makers)
    return tuple(figure for figure in figures if figure.table.rows)


def _figure(run: Run, measure: Callable[[Run], Table], draw: Callable[[Table], dict[str, Any]], caption: str) -> Figure:
    table = measure(run)
    tiers = list(dict.fromkeys(record["tier"] for record in table.records()))
    if len(tiers) > _DRAWN and measure in (measures.reliability, measures.shares, measures.entropies):
        last = table.columns[-1].key if measure is not measures.reliability else "graded"
        sizes = {tier: sum(r[last] for r in table.records() if r["tier"] == tier) for tier in tiers}
        shown = set(sorted(tiers, key=lambda tier: -sizes[tier])[:_DRAWN])
        caption += f" Drawn: the {_DRAWN} tiers with most ballots; the table has all."
        rows = tuple(row for row in table.rows if row[0] in shown)
        return Figure(table.name, table.title, caption, table, (draw(Table("", "", table.columns, rows)),))
    graded = measure is not measures.decided or any(record["graded"] for record in table.records())
    return Figure(table.name, table.title, caption, table, (draw(table),) if table.rows and graded else ())


def _rows(table: Table, layers: list[dict[str, Any]], values: list[dict[str, Any]], height: int) -> dict[str, Any]:
    """Small charts one below the other, a tier each, under the tier's name."""
    tiers = list(dict.fromkeys(record["tier"] for record in table.records()))
    header = {"labelOrient": "top", "labelPadding": 3, "labelAnchor": "start", "labelLimit": WIDTH}
    return {
        "data": {"values": values},
        "facet": {"row": {"field": "tier", "type": "nominal", "sort": tiers, "header": header, "title": None}},
        "spacing": 14,
        "spec": {"width": WIDTH, "height": height, "layer": layers},
    }


_FATE_COLOURS = {
    "right": PALETTE["right"],
    "wrong": PALETTE["wrong"],
    "ungraded": PALETTE["plain"],
    "escalated": PALETTE["climb"],
    "ended": PALETTE["ended"],
}


def _flow(table: Table) -> dict[str, Any]:
    titles = {
        key: title.removeprefix("Answered ").removeprefix("Answered, ").capitalize()
        for key, title in measures.FATES.items()
    }
    return _stack(table, titles, _FATE_COLOURS, "asked", "problem")


def _savings(table: Table) -> dict[str, Any]:
    titles = {"drawn": "Drawn", "cancelled": "Cancelled", "saved": "Saved"}
    colours = {"drawn": PALETTE["accent"], "cancelled": PALETTE["wrong"], "saved": PALETTE["climb"]}
    return _stack(table, titles, colours, "seats", "seat")


def _stack(table: Table, titles: dict[str, str], colours: dict[str, str], whole: str, unit: str) -> dict[str, Any]:
    """Bars of parts that sum to a whole."""
    records = table.records()
    most = max(record[whole] for record in records) or 1
    values: list[dict[str, Any]] = []
    for record in records:
        start = 0
        for key, title in titles.items():
            n = record[key]
            if n:
                middle, wide = start + n / 2, n / most * WIDTH > 8 + 7 * len(str(n))
                words = f"{record['tier']}: {title.lower()}, {n} of {counted(record[whole], unit)}"
                values.append(
                    {"tier": record["tier"], "part": title, "from": start, "to": start + n, "middle": middle}
                    | {"said": str(n) if wide else "", "words": words}
                )
            start += n
    shown = [key for key in titles if any(record[key] for record in records)]
    scale = {"domain": [titles[key] for key in shown], "range": [colours[key] for key in shown]}
    x = {"type": "quantitative", "scale": {"domain": [0, most], "nice": False}, "axis": _axis(f"{unit}s", most)}
    light = [titles[key] for key in shown if colours[key] in (PALETTE["climb"], PALETTE["plain"])]
    layers: list[dict[str, Any]] = [
        {
            "mark": {"type": "bar", "height": 22},
            "encoding": {
                "x": {"field": "from", **x},
                "x2": {"field": "to"},
                "color": {
                    "field": "part",
                    "type": "nominal",
                    "scale": scale,
                    "legend": {"columns": 5, "columnPadding": 10},
                },
                "description": {"field": "words"},
            },
        },
        {
            "mark": {"type": "text", "fontSize": 11, "aria": False},
            "encoding": {
                "x": {"field": "middle", "type": "quantitative"},
                "text": {"field": "said"},
                "color": {
                    "condition": {"test": {"field": "part", "oneOf": light}, "value": _STILL_DARK},
                    "value": PALETTE["paper"],
                },
            },
        },
    ]
    return _rows(table, layers, values, 24)


_STILL_DARK = "#1c2128"
"""Text on the light parts, which stay light on a dark page."""


def _axis(title: str, most: float) -> dict[str, Any]:
    whole = {"format": ",d", "tickMinStep": 1} if most >= 1 else {}
    return {"title": title, "tickCount": 5, **whole}


def _decided(table: Table) -> dict[str, Any]:
    values = [
        {**record, "words": f"{record['tier']}: {_said(record)}", "said": f"{record['right']} of {record['graded']}"}
        for record in table.records()
        if record["graded"]
    ]
    drawn = Table(table.name, table.title, table.columns, tuple(row for row in table.rows if row[3]))
    return _rows(drawn, [*_interval_layers(), *_beside_intervals()], values, 20)


def _said(record: dict[str, Any]) -> str:
    if not record["graded"]:
        return "no graded problem"
    shown = write_interval(record["accuracy"], record["low"], record["high"], "share")
    return f"{record['right']} of {record['graded']} right, {shown}"


def _interval_layers() -> list[dict[str, Any]]:
    """Accuracies with their intervals, along the axis."""
    axis = {"title": "right", "format": ".0%", "tickCount": 5}
    along = {"field": "low", "type": "quantitative", "scale": {"domain": [0, 1]}, "axis": axis}
    return [
        {
            "mark": {"type": "rule", "strokeWidth": 2, "color": PALETTE["line"], "aria": False},
            "encoding": {"x": along, "x2": {"field": "high"}},
        },
        {
            "mark": {"type": "point", "filled": True, "size": 70, "opacity": 1, "color": PALETTE["accent"]},
            "encoding": {"x": {**along, "field": "accuracy"}, "description": {"field": "words"}},
        },
    ]


def _beside_intervals() -> list[dict[str, Any]]:
    """Counts behind the intervals where there is room, else before them."""
    return [
        {
            "mark": {"type": "text", "align": align, "dx": dx, "aria": False, "color": PALETTE["muted"]},
            "transform": [{"filter": room}],
            "encoding": {"x": {"field": field, "type": "quantitative"}, "text": {"field": "said"}},
        }
        for field, align, dx, room in (
            ("high", "left", 7, "datum.high <= 0.75"),
            ("low", "right", -7, "datum.high > 0.75 && datum.low >= 0.25"),
        )
    ]


def _costs(table: Table) -> dict[str, Any]:
    records = table.records()
    if any(record["share"] is None for record in records):
        values = [
            {**r, "value": float(r["samples"]), "said": f"{counted(int(r['samples']), 'sample')}, cost unknown"}
            for r in records
        ]
        axis: dict[str, Any] = {"title": "samples (costs are not all known)", "tickCount": 5}
        top = max(r["value"] for r in values) or 1.0
    else:
        values = [
            {**r, "value": r["share"], "said": f"{write(r['share'], 'share')}, {write(r['cost_usd'], 'usd')} USD"}
            for r in records
        ]
        axis, top = {"title": "share of the cost", "format": ".0%", "tickCount": 5}, 1.0
    for value in values:
        value["words"] = f"{value['tier']}: {value['said']}"
        value["inside"] = value["value"] > top * 0.5
    x = {"field": "value", "type": "quantitative", "scale": {"domain": [0, top]}, "axis": axis}
    text = {"type": "text", "aria": False}
    layers: list[dict[str, Any]] = [
        {
            "mark": {"type": "bar", "height": 20, "color": PALETTE["accent"]},
            "encoding": {"x": x, "description": {"field": "words"}},
        },
        {
            "transform": [{"filter": "!datum.inside"}],
            "mark": {**text, "align": "left", "dx": 6, "color": PALETTE["muted"]},
            "encoding": {"x": x, "text": {"field": "said"}},
        },
        {
            "transform": [{"filter": "datum.inside"}],
            "mark": {**text, "align": "right", "dx": -6, "color": PALETTE["paper"]},
            "encoding": {"x": x, "text": {"field": "said"}},
        },
    ]
    return _rows(table, layers, values, 22)


def _reliability(table: Table) -> dict[str, Any]:
    records = table.records()
    most = max(record["graded"] for record in records)
    values = [
        {
            **record,
            # Both kinds of ballots may have one share: side by side.
            "x": record["share"] + (0.008 if record["ballot"] == "whole" else -0.008),
            "size": 24 + 150 * math.sqrt(record["graded"] / most),
            "words": f"{record['tier']}: share {record['share']:.2f}, {record['ballot']}: {_said(record)}",
        }
        for record in records
    ]
    share = {"type": "quantitative", "scale": {"domain": [0, 1.04], "nice": False}}
    x = {
        "field": "x",
        **share,
        "axis": {"title": "leader's share of the votes", "format": ".1f", "values": [0, 0.2, 0.4, 0.6, 0.8, 1]},
    }
    y = {
        "type": "quantitative",
        "scale": {"domain": [0, 1]},
        "axis": {"title": "leader is right", "format": ".0%", "tickCount": 4},
    }
    fill = {
        "condition": {"test": "datum.ballot === 'whole'", "value": PALETTE["accent"]},
        "value": PALETTE["paper"],
    }
    layers: list[dict[str, Any]] = [
        {
            "data": {"values": [{"a": 0, "b": 1}]},
            "mark": {"type": "rule", "color": PALETTE["line"], "strokeDash": [3, 3], "aria": False},
            "encoding": {
                "x": {"field": "a", **share},
                "x2": {"field": "b"},
                "y": {"field": "a", **y},
                "y2": {"field": "b"},
            },
        },
        {
            "mark": {"type": "rule", "strokeWidth": 1.5, "color": PALETTE["line"], "aria": False},
            "encoding": {"x": x, "y": {"field": "low", **y}, "y2": {"field": "high"}},
        },
        {
            "mark": {"type": "point", "shape": "circle", "strokeWidth": 1.5, "opacity": 1, "stroke": PALETTE["accent"]},
            "encoding": {
                "x": x,
                "y": {"field": "accuracy", **y},
                "fill": fill,
                "size": {"field": "size", "type": "quantitative", "scale": None},
                "description": {"field": "words"},
            },
        },
    ]
    return _rows(table, layers, values, 150)


def _shares(table: Table) -> dict[str, Any]:
    return _histogram(table, "leader's share of the votes", 1.0, ".1f", 0.2)


def _entropies(table: Table) -> dict[str, Any]:
    return _histogram(table, "entropy, bits", max(r["high"] for r in table.records()), ".1f", 0.5)


def _histogram(table: Table, title: str, top: float, form: str, step: float) -> dict[str, Any]:
    values = [
        {**r, "words": f"{r['tier']}: {r['low']:g} to {r['high']:g}, {r['ballots']} ballots", "said": str(r["ballots"])}
        for r in table.records()
    ]
    ticks = [round(i * step, 6) for i in range(math.floor(top / step + 1e-9) + 1)]
    axis = {"title": title, "format": form, "values": ticks, "grid": False}
    x = {"field": "low", "type": "quantitative", "scale": {"domain": [0, top], "nice": False}, "axis": axis}
    y = {"field": "ballots", "type": "quantitative", "axis": None}
    layers: list[dict[str, Any]] = [
        {
            "mark": {"type": "rect", "color": PALETTE["accent"], "xOffset": 1, "x2Offset": -1},
            "encoding": {
                "x": x,
                "x2": {"field": "high"},
                "y": y,
                "y2": {"datum": 0},
                "description": {"field": "words"},
            },
        },
        {
            "transform": [{"calculate": "(datum.low + datum.high) / 2", "as": "middle"}],
            "mark": {"type": "text", "dy": -7, "aria": False, "color": PALETTE["muted"], "fontSize": 10},
            "encoding": {"x": {**x, "field": "middle"}, "y": y, "text": {"field": "said"}},
        },
    ]
    return _rows(table, layers, values, 64)
