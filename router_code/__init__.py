"""Thin doors for people who come with the published commands; they translate and hold no logic."""
