"""The page in a real browser: what is served, requests that climb, what they came to, and keys."""

import time
from collections.abc import Callable, Iterator
from threading import Thread
from typing import Any

import pytest
import requests

from escalade.engines.base import Request
from escalade.gateway.keys import Key, digest
from escalade.testing import ScriptedEngine, answering, pool_of
from tests.gateway.served import CHAT, asking, served_apart

POOL = pool_of("S", "L", prices=["1", "10"], max_tokens=20, route="mv_cascade_S_k4_t0.7_L_k1_t0.0")
UNSURE = answering({"S": ["1", "2", None, "3"], "L": ["391"]})


def until(browser: Any, code: str, seconds: float = 20) -> Any:
    """Wait until an expression of the page is true, and return it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := browser.execute_script(f"return {code}"):
            return found
        time.sleep(0.02)
    raise AssertionError(f"never: {code}; the page says {browser.execute_script('return document.body.innerText')}")


def post(url: str, problem: str, **headers: str) -> Thread:
    thread = Thread(
        target=lambda: requests.post(f"{url}{CHAT}", json=asking("auto", problem), headers=headers, timeout=60)
    )
    thread.start()
    return thread


@pytest.fixture
def gates() -> dict[str, bool]:
    """Models that answer."""
    return {"S": True, "L": False}


@pytest.fixture
def engine(gates: dict[str, bool]) -> ScriptedEngine:
    engine = ScriptedEngine(UNSURE)
    inner: Callable[..., Any] = engine.sample

    async def sample(request: Request, progress: Any) -> Any:
        import asyncio

        while not gates[request.model.alias]:
            await asyncio.sleep(0.01)
        return await inner(request, progress)

    engine.sample = sample  # type: ignore[method-assign]
    return engine


@pytest.fixture
def url(engine: ScriptedEngine, gates: dict[str, bool]) -> Iterator[str]:
    with served_apart(POOL, engine) as url:
        yield url
        gates["L"] = True


def test_requests_climb_on_the_page_and_it_says_what_they_came_to(
    browser: Any,
    url: str,
    gates: dict[str, bool],
) -> None:
    browser.get(url)
    until(browser, "document.querySelector('#served').innerText.includes('mv_cascade_S_k4_t0.7_L_k1_t0.0')")
    until(browser, "document.body.innerText.includes('curl')")
    asked = post(url, "<b>How many swans?</b>")
    row = "document.querySelector('#live [data-request]')"
    until(browser, row)
    until(browser, f"{row}.querySelector('[data-decision=escalate]')")
    assert browser.execute_script(f"return {row}.querySelectorAll('[data-tier]').length") == 2
    gates["L"] = True
    asked.join()
    until(browser, f"!{row}")
    said = until(browser, "document.querySelector('#recent [data-request]').innerText")
    assert "last_tier" in said.replace(" ", "_")
    assert "swans" not in browser.execute_script("return document.body.innerHTML")
    assert "391" not in browser.execute_script("return document.querySelector('#recent').innerText")
    assert until(browser, "document.querySelector('#cost-today').innerText").strip()
    assert "0 of 1" in until(browser, "document.querySelector('#accept-rates').innerText")
    problems = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert not problems


def test_with_keys_the_page_asks_for_one(browser: Any) -> None:
    key = Key(name="alice", sha256=digest("esc-alice"))
    with served_apart(POOL, ScriptedEngine(UNSURE), keys=[key]) as url:
        browser.get(url)
        until(browser, "document.querySelector('#key-form').offsetParent")
        field = browser.find_element("css selector", "#key-form input")
        field.send_keys("esc-bob\n")
        until(browser, "document.querySelector('#key-form').offsetParent")
        field = browser.find_element("css selector", "#key-form input")
        field.clear()
        field.send_keys("esc-alice\n")
        until(browser, "document.querySelector('#served').innerText.includes('mv_cascade_S_k4')")
        browser.get_log("browser")  # the refused fetches stand there; they are meant


def test_the_page_says_when_the_gateway_does_not_answer(browser: Any) -> None:
    with served_apart(POOL, ScriptedEngine(UNSURE)) as url:
        browser.get(url)
        until(browser, "document.querySelector('#served').innerText.includes('mv_cascade_S_k4')")
    assert "answer" in until(browser, "document.querySelector('#trouble').innerText")
    browser.get("about:blank")
    browser.get_log("browser")
