"""Models through vLLM, in this process: checkpoints on GPUs, or on the CPU with vLLM's CPU build.

options.py   options of a model, and the published settings
llm.py       vLLM's own API: the only module that imports vllm
served.py    one model: started, started anew, put to rest, drawn from
engine.py    the engine: all models of a pool
"""

from escalade.engines.vllm.engine import Engine

__all__ = ["Engine"]
