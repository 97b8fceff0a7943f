"""Evaluation: what a run's outcomes are worth, with the uncertainty said."""
