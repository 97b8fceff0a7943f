"""escalade: answers each problem on the cheapest rung that can be trusted, and climbs only when the evidence says so.

>>> import escalade
>>> escalade.parse_route("mv_7B_k8_t0.7").kind.value
'vote'
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from escalade.cascade.policy import Policy
    from escalade.errors import EscaladeError
    from escalade.limits import Limits
    from escalade.pool import Pool, load_pool
    from escalade.problems import Problem, read_problems
    from escalade.results import Results
    from escalade.routes import Route, Tier, parse_route
    from escalade.running import run
    from escalade.strategies import strategy

__version__ = "0.1.0"

_PLACES = {
    "EscaladeError": "errors",
    "Limits": "limits",
    "Policy": "cascade.policy",
    "Pool": "pool",
    "Problem": "problems",
    "Results": "results",
    "Route": "routes",
    "Tier": "routes",
    "load_pool": "pool",
    "parse_route": "routes",
    "read_problems": "problems",
    "run": "running",
    "strategy": "strategies",
}

__all__ = [
    "EscaladeError",
    "Limits",
    "Policy",
    "Pool",
    "Problem",
    "Results",
    "Route",
    "Tier",
    "load_pool",
    "parse_route",
    "read_problems",
    "run",
    "strategy",
]


def __getattr__(name: str) -> Any:
    # Loaded at first use, so that the command line starts without pandas.
    if name not in _PLACES:
        raise AttributeError(f"module 'escalade' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"escalade.{_PLACES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_PLACES])
