"""A process of its own that loads a model within a limit, and says by how much its memory grew."""

import asyncio
import json
import sys
from pathlib import Path

import xllamacpp  # noqa: F401 - its own libraries are not the model's memory

from escalade.engines.base import Progress, Request
from escalade.engines.llamacpp import Engine
from escalade.engines.llamacpp.gguf import need_of
from escalade.pool import Pool, PoolModel

SLOTS, CONTEXT = 2, 256


def resident() -> int:
    """Bytes of this process in memory."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


async def main(path: Path) -> None:
    """Print, in bytes, the most it grew by, what was estimated, and what was left of it in the end."""
    model = PoolModel(alias="M", name="M", file=path, options={"slots": SLOTS, "context": CONTEXT})
    pool = Pool(name="P", models=(model,), engines={"llamacpp": {"memory": 2.0}})
    engine = Engine("", pool, seed=0)
    before, most = resident(), 0
    for n in range(2):
        asked = [
            Request("p", [{"role": "user", "content": f"{n} {slot} " + "word " * 60}], model, 0.7, 4, slot, slot)
            for slot in range(SLOTS)
        ]
        await asyncio.gather(*(engine.sample(request, Progress()) for request in asked))
        most = max(most, resident())
    await engine.close()
    print(json.dumps([most - before, need_of(path, tokens=SLOTS * CONTEXT).total, resident() - before]))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
