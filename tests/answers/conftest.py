"""Property tests here are reproducible and are not judged by the clock."""

from hypothesis import settings

settings.register_profile("answers", derandomize=True, deadline=None)
settings.load_profile("answers")
