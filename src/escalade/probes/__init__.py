"""Probes: linear models that predict, before a token is generated, how likely a model is to answer a problem."""
