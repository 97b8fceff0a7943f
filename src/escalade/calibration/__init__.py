"""Calibration: P(correct | ballot, tier), fitted, kept in a file, used as a confidence."""
