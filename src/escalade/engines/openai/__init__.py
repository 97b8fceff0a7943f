"""Models behind any server that speaks OpenAI's HTTP API: vLLM, SGLang, llama.cpp, hosted ones. See docs/engines.md.

Argument: the server's address, in the place of the `base_url` of all models: `openai:http://127.0.0.1:8000/v1`.
"""

from escalade.engines.openai.engine import Engine

__all__ = ["Engine"]
