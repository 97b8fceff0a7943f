"""The page in a real browser: opened from disk, hovered, clicked, filtered, narrow, dark and printed."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from escalade.report.files import write_report
from tests.report.conftest import HOSTILE, point, write_comparison

webdriver = pytest.importorskip("selenium.webdriver", reason="the page is tested in a browser with selenium")


@pytest.fixture(scope="module")
def address(comparison: Path, cascade: Path, vote: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("page") / "report.html"
    return write_report([comparison, cascade, vote], out).page.as_uri()


def look(browser: Any, address: str, width: int = 1280, *, dark: bool = False) -> None:
    """Open the page anew at a width, in pixels."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    feature = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    browser.get("about:blank")
    browser.get(address)


def run(browser: Any, code: str, *arguments: Any) -> Any:
    return browser.execute_script(code, *arguments)


def overflow(browser: Any) -> int:
    """By how many pixels the page is wider than its window."""
    return int(run(browser, "return document.documentElement.scrollWidth - innerWidth"))


@pytest.mark.parametrize("width", [1280, 360])
def test_it_opens_from_disk_without_a_word_on_the_console(browser: Any, address: str, width: int) -> None:
    look(browser, address, width)
    assert browser.get_log("browser") == []
    assert browser.title == "Which route, at what cost, how sure"
    assert run(browser, "return document.querySelectorAll('svg').length") > 15
    assert run(browser, "return performance.getEntriesByType('resource').length") == 0


def visible(browser: Any, selector: str) -> Any:
    return next(e for e in browser.find_elements("css selector", selector) if e.is_displayed())


@pytest.mark.parametrize("width", [1280, 360])
def test_hovering_a_point_says_its_name(browser: Any, address: str, width: int) -> None:
    look(browser, address, width)
    mark = visible(browser, "#comparison1 svg a.mark[href='#comparison1-1'] path")
    webdriver.ActionChains(browser).scroll_to_element(mark).move_to_element(mark).perform()
    tip = browser.find_element("id", "tip")
    assert tip.is_displayed()
    assert tip.text.startswith("1. mv_1.5B_k4_t0.7: right 82.0 % (79.0 to 85.0)")
    box = tip.rect
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= width


def test_a_click_on_a_point_opens_its_details(browser: Any, address: str) -> None:
    look(browser, address)
    details = browser.find_element("id", "comparison1-3")
    assert not details.get_property("open")
    visible(browser, "#comparison1 svg a.mark[href='#comparison1-3'] path").click()
    assert details.get_property("open")
    assert "a loss: costs 2.00 times as much" in details.text
    run_two = browser.find_element("css selector", "#run2 > details")
    assert not run_two.get_property("open")
    mark = visible(browser, "#runs svg a.mark[href='#run2'] path")
    run(browser, "arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", mark)
    mark.click()
    assert run_two.get_property("open")


def test_points_are_reached_by_keyboard(browser: Any, address: str) -> None:
    look(browser, address)
    keys = webdriver.Keys
    for _ in range(40):
        webdriver.ActionChains(browser).send_keys(keys.TAB).perform()
        if run(browser, "return document.activeElement.matches('svg a.mark')"):
            break
    else:
        pytest.fail("no point had the focus")
    target = run(browser, "return document.activeElement.getAttribute('href')").removeprefix("#")
    assert browser.find_element("id", "tip").is_displayed()
    webdriver.ActionChains(browser).send_keys(keys.ENTER).perform()
    assert browser.find_element("id", target).get_property("open")


def test_a_story_opens_from_the_table_of_problems(browser: Any, address: str) -> None:
    look(browser, address)
    link = browser.find_element("css selector", "#all a")
    target = str(link.get_attribute("href")).rpartition("#")[2]
    run(browser, "arguments[0].scrollIntoView({block: 'center', behavior: 'instant'}); arguments[0].click()", link)
    story = browser.find_element("id", target)
    assert story.get_property("open")
    assert link.get_property("textContent") in story.text
    assert "share below 0.9" in story.text


SHOWN = "return [...document.querySelectorAll('#all tbody tr')].filter(r => !r.hidden).map(r => r.cells[0].textContent)"


def test_the_filter_filters(browser: Any, address: str) -> None:
    look(browser, address)
    field = browser.find_element("id", "filter")
    assert len(run(browser, SHOWN)) == 60
    for words, count in (("wrong no_answer", 2), ("pottery KILNS", 1), ("fallback", 2), ("nothing like that", 0)):
        field.clear()
        field.send_keys(words)
        assert len(run(browser, SHOWN)) == count
        assert browser.find_element("id", "found").text == f"{count} of 60 problems"
    field.clear()
    field.send_keys("h01")
    assert run(browser, SHOWN) == ["h01"]


@pytest.mark.parametrize("dark", [False, True])
def test_a_phone_scrolls_down_alone_even_with_all_opened(browser: Any, address: str, dark: bool) -> None:
    look(browser, address, 360, dark=dark)
    assert overflow(browser) <= 0
    run(browser, "for (const d of document.querySelectorAll('details')) d.open = true")
    assert overflow(browser) <= 0


def contrast(browser: Any, selector: str, attribute: str) -> float:
    """Contrast of an element's paint with the page (WCAG 2)."""
    paints = run(
        browser,
        "const e = document.querySelector(arguments[0]);"
        "return [getComputedStyle(e)[arguments[1]], getComputedStyle(document.body).backgroundColor]",
        selector,
        attribute,
    )
    lights = []
    for paint in paints:
        parts = [int(part) / 255 for part in paint[4:-1].split(",")]
        r, g, b = (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
        lights.append(0.2126 * r + 0.7152 * g + 0.0722 * b)
    return (max(lights) + 0.05) / (min(lights) + 0.05)


@pytest.mark.parametrize("dark", [False, True])
def test_text_and_charts_stand_out_in_light_and_dark(browser: Any, address: str, dark: bool) -> None:
    look(browser, address, dark=dark)
    paper = run(browser, "return getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(20, 24, 29)") == dark
    assert contrast(browser, "body", "color") > 10
    assert contrast(browser, ".caption", "color") > 4.5
    assert contrast(browser, "svg .role-axis-label text", "fill") > 4.5
    assert contrast(browser, "#all td.wrong", "color") > 4.5
    assert contrast(browser, "#all td.right", "color") > 4.5
    assert contrast(browser, "svg a.mark path", "fill") > 3


def test_it_prints(browser: Any, address: str) -> None:
    look(browser, address, dark=True)
    pdf = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})["data"])
    assert pdf.startswith(b"%PDF")
    assert len(pdf) > 50_000
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": []})
    assert run(browser, "return getComputedStyle(document.body).backgroundColor") == "rgb(254, 254, 254)"
    assert not browser.find_element("css selector", "nav").is_displayed()


def test_hostile_texts_do_not_run(browser: Any, hostile: Path, tmp_path: Path) -> None:
    compared = write_comparison(
        tmp_path / "c",
        [point(HOSTILE, "route", 0.8, 1e-4, on_frontier=True), point("b", "reference", 0.9, 3e-4)],
        verdict=HOSTILE,
    )
    look(browser, write_report([compared, hostile], tmp_path / "r.html", title=HOSTILE).page.as_uri())
    run(browser, "for (const d of document.querySelectorAll('details')) d.open = true")
    mark = visible(browser, "#comparison1 svg a.mark path")
    webdriver.ActionChains(browser).scroll_to_element(mark).move_to_element(mark).perform()
    assert HOSTILE in browser.find_element("id", "tip").text
    assert run(browser, "return window.owned === undefined")
    assert run(browser, "return document.scripts.length") == 1
    assert browser.get_log("browser") == []
    assert HOSTILE in str(run(browser, "return document.querySelector('.story').textContent"))


def test_a_planted_script_is_refused_by_the_policy(browser: Any, address: str, tmp_path: Path) -> None:
    html = Path(address.removeprefix("file://")).read_text(encoding="utf-8")
    planted = tmp_path / "planted.html"
    payload = "<script>window.owned=1</script><img src=x onerror='window.owned=1'>"
    planted.write_text(html.replace("<main>", f"<main>{payload}"), encoding="utf-8")
    look(browser, planted.as_uri())
    assert run(browser, "return window.owned === undefined")
    assert any("Content Security Policy" in entry["message"] for entry in browser.get_log("browser"))
