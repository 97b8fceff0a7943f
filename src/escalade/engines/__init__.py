"""Engines: what turns a sample request into a sample. See `base` for what one has to do."""
