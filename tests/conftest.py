"""Property tests are reproducible and not judged by the clock; the smallest real model is there for all."""

from pathlib import Path

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
