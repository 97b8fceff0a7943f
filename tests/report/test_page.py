"""The page as text: nothing in it can run or load, whatever models and files of problems say."""

import base64
import hashlib
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

import escalade
from escalade.errors import SettingError, TableError
from escalade.report.comparisons import points_table
from escalade.report.contents import DRAWN, Contents, read_contents
from escalade.report.page import page
from escalade.report.tables import write
from tests.report.conftest import HOSTILE, point, write_comparison


class Reader(HTMLParser):
    """All elements with their attributes, and the text outside of scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.blocks: dict[str, list[str]] = {"script": [], "style": []}
        self._inside = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag if tag in self.blocks else ""

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        (self.blocks[self._inside] if self._inside else self.texts).append(data)


@pytest.fixture(scope="module")
def contents(comparison: Path, cascade: Path, vote: Path) -> Contents:
    return read_contents([comparison, cascade, vote])


@pytest.fixture(scope="module")
def whole(contents: Contents) -> Reader:
    return Reader(page(contents, "A title"))


def test_nothing_is_loaded_and_every_link_leads_into_the_page(whole: Reader) -> None:
    ids = [attributes["id"] for _, attributes in whole.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [attributes["href"] for _, attributes in whole.elements if "href" in attributes]
    assert len(links) > 20
    assert all(link is not None and link[0] == "#" and link[1:] in ids for link in links)
    assert not any(
        {"src", "srcset", "action", "data", "xlink:href"} & set(attributes) for _, attributes in whole.elements
    )
    assert not {"link", "img", "iframe", "object", "embed", "base", "form"} & {tag for tag, _ in whole.elements}
    assert "@import" not in whole.blocks["style"][0]
    assert "url(" not in whole.blocks["style"][0]


def test_the_policy_allows_this_script_and_this_style_sheet_alone(whole: Reader) -> None:
    (policy,) = [a["content"] for tag, a in whole.elements if a.get("http-equiv") == "Content-Security-Policy"]
    rules = dict(rule.split(" ", 1) for rule in str(policy).split("; "))
    assert rules.pop("default-src") == "'none'"
    assert (rules.pop("base-uri"), rules.pop("form-action")) == ("'none'", "'none'")
    for kind in ("script", "style"):
        (block,) = whole.blocks[kind]
        digest = base64.b64encode(hashlib.sha256(block.encode()).digest()).decode()
        assert rules.pop(f"{kind}-src") == f"'sha256-{digest}'"
    assert not rules
    assert not any("style" in attributes for _, attributes in whole.elements)


def test_hostile_texts_stay_texts(hostile: Path, tmp_path: Path) -> None:
    compared = write_comparison(
        tmp_path / "c",
        [point(HOSTILE, HOSTILE, 0.8, 1e-4, route=HOSTILE + "r", on_frontier=True), point("b", "reference", 0.9, 3e-4)],
        verdict=HOSTILE,
        reference=HOSTILE,
        **{HOSTILE: HOSTILE},
    )
    html = page(read_contents([compared, hostile]), HOSTILE)
    found = Reader(html)
    assert len(found.blocks["script"]) == 1
    assert "owned" not in found.blocks["script"][0]
    assert sum(HOSTILE in text for text in found.texts) > 100
    names = {name for _, attributes in found.elements for name in attributes}
    assert not {name for name in names if name.startswith("on")}
    shown = [value for _, attributes in found.elements for value in attributes.values() if value and "owned" in value]
    labels = [str(a["aria-label"]) for _, a in found.elements if "owned" in str(a.get("aria-label"))]
    assert shown == labels  # what is pointed at is told as it is, and nowhere else in an attribute
    assert labels


def test_the_numbers_of_every_chart_stand_in_a_table(contents: Contents, whole: Reader) -> None:
    cells = {text.strip() for text in whole.texts}
    for figure in contents.figures:
        for row in figure.table.written():
            assert set(row) - {""} <= cells, figure.name


def test_every_policy_has_its_details(contents: Contents, whole: Reader) -> None:
    ids = {attributes.get("id") for _, attributes in whole.elements}
    (compared,) = contents.compared
    assert {anchor for anchor, _ in compared.points} <= ids
    for record in points_table(compared.comparison).records():
        assert any(write(record["accuracy"], "share") in text for text in whole.texts)
    assert any(text == "a loss: costs 2.00 times as much" for text in whole.texts)


def test_the_verdicts_come_first(contents: Contents, whole: Reader) -> None:
    text = "".join(whole.texts)
    verdicts = [contents.compared[0].comparison.verdict, contents.rivals.verdict if contents.rivals else ""]
    places = [text.index(said) for said in verdicts]
    assert places == sorted(places)
    assert places[-1] < text.index("Accuracy against cost")


def test_a_chart_has_no_colour_of_its_own(whole: Reader) -> None:
    paints = {str(a[name]) for _, a in whole.elements for name in ("fill", "stroke") if name in a}
    assert all(re.fullmatch(r"none|transparent|var\(--\w+\)|#1c2128", paint) for paint in paints), paints


def test_more_runs_than_are_drawn_have_their_numbers(tmp_path: Path) -> None:
    first = escalade.run(engine="replay:shipped", route="0.5B", limit=5).write(tmp_path / "first")
    folders = [first, *(Path(shutil.copytree(first, tmp_path / f"r{n}")) for n in range(DRAWN))]
    contents = read_contents(folders)
    assert [bool(part.figures[0].specs) for part in contents.ran] == [True] * DRAWN + [False]
    found = Reader(page(contents, "T"))
    assert any("for the first 4 runs; from here on" in text for text in found.texts)
    assert sum(text == "Not drawn: only the numbers." for text in found.texts) == len(contents.ran[-1].figures)


def test_two_runs_of_one_route_are_told_apart(vote: Path, tmp_path: Path) -> None:
    again = Path(shutil.copytree(vote, tmp_path / "again"))
    names = [part.run.name for part in read_contents([vote, again]).ran]
    assert names == [f"mv_1.5B_k4_t0.7 ({vote})", f"mv_1.5B_k4_t0.7 ({again})"]


def test_folders_are_checked(cascade: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="no folder is given"):
        read_contents([])
    with pytest.raises(SettingError, match="given twice"):
        read_contents([cascade, cascade / "."])
    with pytest.raises(TableError, match=r"summary\.json is not there; give the folder of a run"):
        read_contents([tmp_path])
