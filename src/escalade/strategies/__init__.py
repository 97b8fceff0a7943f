"""Strategies: functions from scores to routes, the published catalogue of them, and the registry they are found in."""

from escalade.strategies.catalogue import samples_for
from escalade.strategies.registry import (
    COSTS,
    Inputs,
    Strategy,
    get_strategy,
    load_strategy,
    strategies,
    strategy,
)

__all__ = ["COSTS", "Inputs", "Strategy", "get_strategy", "load_strategy", "samples_for", "strategies", "strategy"]
