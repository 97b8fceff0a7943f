"""Comparisons of policies on recorded samples, with the references they must beat."""
