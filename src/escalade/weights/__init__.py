"""The weights of a pool's models: where they are, and how they get there.

A model's identity is its sha256, not the place it came from: `pull` goes through the model's sources in
order, passes over one that cannot be reached with a word, and keeps a file only when its hash matches.
"""

from escalade.weights.cache import ModelState, cache_folder, locate, require, state
from escalade.weights.fetch import pull
from escalade.weights.job import Progress, Say, hash_of

__all__ = ["ModelState", "Progress", "Say", "cache_folder", "hash_of", "locate", "pull", "require", "state"]
