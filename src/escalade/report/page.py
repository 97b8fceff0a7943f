"""The page: contents as one HTML file that loads nothing, runs no script but its own, and says so in its policy.

Every text goes through Jinja's escaping; the only markup let through is that of the charts, of the style sheet and of
the script of this package.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from decimal import Decimal
from importlib import resources
from typing import Any, NamedTuple

from escalade import __version__
from escalade.errors import SettingError
from escalade.report.contents import DRAWN, Contents, problems_table
from escalade.report.drawing import draw
from escalade.report.figures import Figure
from escalade.report.tables import Table, write, write_interval

_ROOM = "escalade.report"


class _Fact(NamedTuple):
    """A setting or fingerprint."""

    name: str
    value: str


def page(contents: Contents, title: str) -> str:
    """Return the report as HTML.

    Raises:
        SettingError: the extra `report` is not installed.
    """
    environment = _environment()
    style, script = _text("style.css"), _text("script.js")
    runs = [part.run for part in contents.ran]
    rendered: str = environment.get_template("page.html").render(
        title=title,
        version=__version__,
        contents=contents,
        problems=_cells(problems_table(runs)) if runs else None,
        stories=_anchors(contents),
        drawn=DRAWN,
        style=_Trusted(style),
        script=_Trusted(script),
        policy=_policy(style, script),
    )
    return rendered


def _policy(style: str, script: str) -> str:
    """The content security policy: nothing is loaded, sent or run but this style sheet and this script."""
    return "; ".join(
        [
            "default-src 'none'",
            f"style-src '{_digest(style)}'",
            f"script-src '{_digest(script)}'",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


class _Trusted(str):
    """Markup of this package: the style sheet, the script, a drawn chart."""

    __slots__ = ()

    def __html__(self) -> str:
        return str(self)


def _environment() -> Any:
    try:
        import jinja2
    except ImportError as error:
        raise SettingError(f"a report needs Jinja2 ({error}): pip install 'escalade[report]'") from error
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        loader=jinja2.FunctionLoader(_text),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(charts=_charts, cells=_cells, facts=_facts, with_interval=write_interval, usd=_usd)
    environment.filters["written"] = write
    return environment


def _text(name: str) -> str:
    return (resources.files(_ROOM) / "template" / name).read_text(encoding="utf-8")


def _charts(figure: Figure) -> list[_Trusted]:
    """A figure as SVG: for a wide page and a narrow one, or one for both."""
    return [
        _Trusted(draw(spec, f"{figure.name}-{position}", figure.title)) for position, spec in enumerate(figure.specs)
    ]


def _usd(cost: Decimal | float | None) -> str:
    return "cost unknown" if cost is None else f"{write(cost, 'usd')} USD"


class _Cells(NamedTuple):
    """A table as a person reads it."""

    table: Table
    rows: list[list[str]]


def _cells(table: Table) -> _Cells:
    return _Cells(table, table.written())


def _anchors(contents: Contents) -> dict[str, str]:
    """Where the story of a problem of the first run is told."""
    if not contents.ran:
        return {}
    told = [story.id for kind in contents.ran[0].notable for story in kind.stories]
    return {ident: f"run1-story{number}" for number, ident in enumerate(told, start=1)}


_LONG = 600
"""Most characters of a setting that are shown."""
_SHOWN_ELSEWHERE = ("tiers", "statuses", "verdict", "rivals", "notes", "left_out", "frontier.zero", "frontier.oracle")


def _facts(facts: Mapping[str, Any]) -> list[_Fact]:
    """Settings and fingerprints, nested ones under dotted names; what other parts of the page show is left out."""
    shown = dict(facts)
    if "statuses" in facts and shown.get("notes"):  # of a run: no other part has them
        shown["note"] = "; ".join(map(str, shown["notes"]))
    return [_Fact(name, value) for key, found in shown.items() for name, value in _flat(key, found)]


def _flat(key: str, value: Any) -> list[tuple[str, str]]:
    if key in _SHOWN_ELSEWHERE:
        return []
    if isinstance(value, Mapping):
        return [pair for name, found in value.items() for pair in _flat(f"{key}.{name}", found)]
    if value is None:
        return [(key, "–")]
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return [(key, text if len(text) <= _LONG else f"{text[:_LONG]}… ({len(text):,} characters in its file)")]
