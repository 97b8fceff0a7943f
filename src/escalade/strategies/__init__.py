"""Strategies: functions from scores to routes, the published catalogue of them, and the registry they are found in."""

from escalade.strategies.catalogue import samples_for
from escalade.strategies.fallback import fallback_route
from escalade.strategies.registry import (
    COSTS,
    Choice,
    Inputs,
    Strategy,
    get_strategy,
    load_strategy,
    strategies,
    strategy,
)

__all__ = [
    "COSTS",
    "Choice",
    "Inputs",
    "Strategy",
    "fallback_route",
    "get_strategy",
    "load_strategy",
    "samples_for",
    "strategies",
    "strategy",
]
