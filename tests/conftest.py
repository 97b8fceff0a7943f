"""Property tests are reproducible and are not judged by the clock."""

from hypothesis import settings

settings.register_profile("escalade", derandomize=True, deadline=None)
settings.load_profile("escalade")
