"""Drawing: a Vega-Lite specification as SVG for a page that may be light or dark, and as SVG and PNG files.

vl-convert draws without a browser and without network. In the page, colours are variables of its style sheet and what
can be hovered carries its words as a label. So a page needs no library of charts, and no script to be read.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from escalade.errors import SettingError
from escalade.results import replace_file

PALETTE = {
    "ink": "#1c2127",
    "muted": "#5d6670",
    "grid": "#e4e7ea",
    "line": "#9aa3ad",
    "accent": "#2a5d8f",
    "right": "#1d7f72",
    "wrong": "#c4532d",
    "climb": "#b9c4cf",
    "ended": "#8a6fa8",
    "plain": "#d9b65c",
    "paper": "#fefefe",
}
"""The colours of charts by what they mean; a page replaces them by its own of the same names."""

_VEGA_LITE = "5.21"
_SVG = "{http://www.w3.org/2000/svg}"
_LINK = "{http://www.w3.org/1999/xlink}href"
_DRAWN = {"svg", "g", "path", "line", "rect", "text", "tspan", "a", "defs", "clipPath"}
_BY_COLOUR = {colour: f"var(--{name})" for name, colour in PALETTE.items()}
_CONFIG: dict[str, Any] = {
    "background": None,
    "font": "Helvetica Neue, Helvetica, Arial, sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelColor": PALETTE["muted"],
        "titleColor": PALETTE["muted"],
        "labelFontSize": 11,
        "titleFontSize": 11,
        "titleFontWeight": "normal",
        "titlePadding": 8,
        "gridColor": PALETTE["grid"],
        "domain": False,
        "ticks": False,
        "labelPadding": 6,
    },
    "legend": {
        "labelColor": PALETTE["muted"],
        "titleColor": PALETTE["muted"],
        "labelFontSize": 11,
        "orient": "top",
        "title": None,
        "symbolType": "square",
        "offset": 6,
    },
    "header": {
        "labelColor": PALETTE["ink"],
        "labelFontSize": 11,
        "labelFontWeight": "bold",
        "labelAnchor": "start",
        "title": None,
    },
    "text": {"color": PALETTE["ink"], "fontSize": 11},
}


def draw(spec: dict[str, Any], ident: str, label: str) -> str:
    """Return a chart as SVG to stand in a page; `ident` tells its parts from those of other charts.

    Raises:
        SettingError: the extra `report` is not installed.
    """
    ElementTree.register_namespace("", _SVG[1:-1])
    root = ElementTree.fromstring(_svg(spec))
    for parent in root.iter():
        for child in list(parent):
            if child.tag.removeprefix(_SVG) not in _DRAWN:
                parent.remove(child)
    for element in root.iter():
        _adapt(element, ident)
    root.set("role", "group")
    root.set("aria-label", label)
    root.set("id", ident)
    return ElementTree.tostring(root, encoding="unicode")


def _adapt(element: ElementTree.Element, ident: str) -> None:
    """Let an element of a drawing stand in a page."""
    for name in ("fill", "stroke"):
        colour = element.get(name, "").lower()
        if colour in _BY_COLOUR:
            element.set(name, _BY_COLOUR[colour])
    for name in ("font-family", "aria-roledescription", "style"):
        element.attrib.pop(name, None)
    if "id" in element.attrib:
        element.set("id", f"{ident}-{element.attrib['id']}")
    if "clip-path" in element.attrib:
        element.set("clip-path", re.sub(r"#([\w-]+)", rf"#{ident}-\1", element.attrib["clip-path"]))
    address = element.attrib.pop(_LINK, None)
    if address is not None:  # drawn as absolute, though all of them are of this page
        element.set("href", f"#{address.rpartition('#')[2]}")
        element.set("class", "mark")
        label = next((child.get("aria-label") for child in element if child.get("aria-label")), None)
        if label is not None:
            element.set("aria-label", label)
    if element.get("role") == "graphics-symbol" and element.get("aria-label"):
        element.set("class", "tip")
        element.set("role", "img")
    elif element.get("role", "").startswith("graphics"):
        del element.attrib["role"]


def export(spec: dict[str, Any], path: Path) -> Path:
    """Write a chart as FILE.svg or FILE.png, on white; PNG at two pixels a point."""
    from_spec = {**spec, "background": "white", "padding": 12}
    if path.suffix == ".svg":
        text = _svg(from_spec)
        replace_file(path, lambda target: target.write_text(text, encoding="utf-8"))
    else:
        png = _converter().vegalite_to_png(_whole(from_spec), vl_version=_VEGA_LITE, scale=2)
        replace_file(path, lambda target: target.write_bytes(png))
    return path


def _svg(spec: dict[str, Any]) -> str:
    text: str = _converter().vegalite_to_svg(_whole(spec), vl_version=_VEGA_LITE)
    return text


def _whole(spec: dict[str, Any]) -> str:
    # As text: numbers arrive as they are, and a NaN would be refused here and not in the chart.
    return json.dumps({"config": _CONFIG, "background": None, "padding": 4, **spec}, allow_nan=False)


def _converter() -> Any:
    try:
        import vl_convert
    except ImportError as error:
        raise SettingError(f"a report needs vl-convert-python ({error}): pip install 'escalade[report]'") from error
    return vl_convert
