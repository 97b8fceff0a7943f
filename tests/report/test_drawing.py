"""Drawings: what of a chart gets into a page, and what is said where a library is missing."""

import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from escalade.errors import SettingError
from escalade.report.contents import read_contents
from escalade.report.drawing import PALETTE, draw, export
from escalade.report.page import page

SPEC = {
    "width": 100,
    "height": 50,
    "data": {"values": [{"x": 1, "said": "a < b & \"c\"", "to": "#there"}, {"x": 5, "said": "d", "to": "#far"}]},
    "mark": {"type": "point", "filled": True, "color": PALETTE["accent"], "clip": True},
    "encoding": {
        "x": {"field": "x", "type": "quantitative"},
        "description": {"field": "said"},
        "href": {"field": "to"},
    },
}  # fmt: skip


def test_a_point_keeps_its_words_and_leads_into_the_page() -> None:
    root = ElementTree.fromstring(draw(SPEC, "c1", "A chart"))
    links = [element for element in root.iter() if element.tag.endswith("}a")]
    assert [(link.get("href"), link.get("aria-label")) for link in links] == [("#there", 'a < b & "c"'), ("#far", "d")]
    assert (root.get("id"), root.get("aria-label")) == ("c1", "A chart")
    assert all("http" not in value for element in root.iter() for value in element.attrib.values())


def test_parts_of_two_drawings_have_ids_of_their_own() -> None:
    ids = []
    for ident in ("c1", "c2"):
        root = ElementTree.fromstring(draw(SPEC, ident, "A chart"))
        found = [element.get("id") for element in root.iter() if element.get("id")]
        used = [str(element.get("clip-path"))[5:-1] for element in root.iter() if element.get("clip-path")]
        assert len(found) > 1
        assert used
        assert set(used) <= set(found)
        ids += found
    assert len(ids) == len(set(ids))


def test_colours_are_those_of_the_page_and_fonts_too() -> None:
    text = draw(SPEC, "c1", "A chart")
    assert "var(--accent)" in text
    assert not any(colour in text for colour in PALETTE.values())
    assert "font-family" not in text
    assert "style=" not in text


def test_a_file_has_colours_of_its_own_on_white(tmp_path: Path) -> None:
    text = export(SPEC, tmp_path / "c.svg").read_text(encoding="utf-8")
    assert PALETTE["accent"] in text
    assert 'fill="white"' in text


@pytest.mark.parametrize(("module", "said"), [("vl_convert", "vl-convert-python"), ("jinja2", "Jinja2")])
def test_a_missing_library_is_named_with_its_extra(
    vote: Path, monkeypatch: pytest.MonkeyPatch, module: str, said: str
) -> None:
    contents = read_contents([vote])
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SettingError, match=rf"a report needs {said} .*pip install 'escalade\[report\]'"):
        page(contents, "T")
