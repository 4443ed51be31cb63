"""Runs one peer: `python run.py MODULE STREAM DEVICES GROUPS REPEATS`; prints what it measured as JSON.

It needs nothing but the standard library, for it runs in the peer's own virtual environment, where Shoal is not. The
stream is a file of records `<IiIqI`: device, power in W, state of charge in millionths, time in ns, sequence number. A
module's `load` makes of it what suits the peer, which is not timed; its `run` calls `begin` when every device stands
ready and `end` when the sum of every group is right, and returns these sums and, when its devices live in other
processes, the memory of those.
"""

from __future__ import annotations

import gc
import importlib
import json
import sys
import time
from pathlib import Path

from footprint import peak_bytes, resident_bytes  # type: ignore[import-not-found]


def main(module: str, stream: str, devices: str, groups: str, repeats: str) -> None:
    """Run the peer some times; print how long each took, the memory that its devices took, and its sums."""
    peer = importlib.import_module(module)
    updates = peer.load(Path(stream).read_bytes())
    took_s: list[float] = []
    memory_bytes = [resident_bytes()]
    for _ in range(int(repeats)):
        gc.collect()
        gc.freeze()  # what was prepared need not be looked through again and again
        sums_w, elsewhere_bytes = peer.run(
            updates,
            int(devices),
            int(groups),
            lambda: took_s.append(-time.perf_counter()),
            lambda: took_s.append(took_s.pop() + time.perf_counter()),
        )
        memory_bytes.append(peak_bytes() - memory_bytes[0] if elsewhere_bytes is None else elsewhere_bytes)
    outcome = {"took_s": took_s, "bytes": memory_bytes[1], "sums_w": [int(sum_w) for sum_w in sums_w]}
    sys.stdout.write("\n" + json.dumps(outcome) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
