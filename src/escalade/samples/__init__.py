"""Samples: what an engine generated, what was read in it, and the durable store of all of them."""
