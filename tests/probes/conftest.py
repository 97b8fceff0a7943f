"""The models of the engines' tests; none of them is made twice in one session."""

from tests.engines.conftest import checkpoint, llama_server, llamacpp, small_pool, wait

__all__ = ["checkpoint", "llama_server", "llamacpp", "small_pool", "wait"]
