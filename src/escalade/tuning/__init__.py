"""Tuning: routes and thresholds chosen on recorded samples, held out and certified."""
