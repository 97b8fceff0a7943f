"""Real GGUF models through llama.cpp (xllamacpp), in this process: k samples in parallel slots, our own seeds.

options.py   options of a model, settings of the engine
gguf.py      what the header of a file tells of the memory that its model takes
loaded.py    one loaded model: the only module that imports xllamacpp
room.py      which models are loaded at once, within a limit of memory
engine.py    the engine: all models of a pool
"""

from escalade.engines.llamacpp.engine import Engine
from escalade.engines.llamacpp.options import Settings

__all__ = ["Engine", "Settings"]
