"""Property tests are reproducible and not judged by the clock; the smallest real model is there for all."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from escalade import load_pool, weights
from escalade.strategies import registry

settings.register_profile("escalade", derandomize=True, deadline=None)
settings.load_profile("escalade")


@pytest.fixture(autouse=True)
def _same_strategies(monkeypatch: pytest.MonkeyPatch) -> None:
    """The strategies a test registers are not for the tests behind it."""
    monkeypatch.setattr(registry, "_registry", dict(registry._registry))
    monkeypatch.setattr(registry, "_names", dict(registry._names))


@pytest.fixture(scope="session")
def smallest_model() -> Path:
    """The weights of the 135M model; fetched where `make test` has not done so yet."""
    model = load_pool("tiny")["135M"]
    return weights.locate(model) or weights.pull(model, progress=lambda done, total: None, say=print)


QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A real browser, without a window and without a word to anybody."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="pages are tested in a browser with selenium")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("no chromium with chromedriver (Debian: chromium, chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in (*QUIET, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    found = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=driver))
    try:
        yield found
    finally:
        found.quit()
