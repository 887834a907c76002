"""``python -m benchmarks.cuda.linear OUT.json [--tune]``: checks linear attention on one GPU, then times it.

``--tune`` times other blocks, warps and stages of every kernel instead, on the device alone. The times of a call include
what the host does; those named "graph" replay a recorded call, so that they are of the device alone.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from benchmarks.cuda.linear.checks import attempted, check
from benchmarks.cuda.linear.measuring import host_times, memory, times
from benchmarks.cuda.linear.tuning import tune
from benchmarks.cuda.timing import card


def main() -> None:
    """Run everything, and write what is known after every step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--tune", action="store_true")
    chosen = parser.parse_args()
    found: dict[str, Any] = {"card": card()}
    steps = [tune] if chosen.tune else [check, times, memory, host_times]
    for step in steps:
        begun = time.perf_counter()
        found[step.__name__] = attempted(step.__name__, step)
        print(f"{step.__name__}: {time.perf_counter() - begun:.1f} s", flush=True)
        chosen.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
