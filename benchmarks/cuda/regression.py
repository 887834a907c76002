"""``python -m benchmarks.cuda.regression OUT.json``: a support vector regression on a GPU, with its certificate."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.cuda.timing import card
from primaldual import solve
from primaldual.errors import UnsupportedError

OUTPUTS, FEATURES = 64, 64
MEMORY = 64 * 2**30
"""Bytes that kernel matrices may take."""


def main() -> None:
    """Solve and write after each size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[2000, 20000])
    chosen = parser.parse_args()
    found: dict[str, Any] = {"card": card(), "outputs": OUTPUTS, "sizes": {}}
    for size in chosen.sizes:
        found["sizes"][str(size)] = figures = solved(size)
        print(size, figures, flush=True)
        chosen.out.write_text(json.dumps(found, indent=1) + "\n")


def solved(size: int) -> dict[str, Any]:
    """Seconds, memory and duality gap of one regression."""
    torch.manual_seed(0)
    keys = torch.randn(size, FEATURES, device="cuda", dtype=torch.float64)
    targets = torch.sin(
        keys @ torch.randn(FEATURES, OUTPUTS, device="cuda", dtype=torch.float64) / FEATURES**0.5
    )
    try:
        solve("softmax", keys, targets, memory=1)
    except UnsupportedError as error:
        print(error, flush=True)  # says what it takes, before anything starts
    torch.cuda.reset_peak_memory_stats()
    torch.cuda.synchronize()
    begun = time.perf_counter()
    solution = solve("softmax", keys, targets, memory=MEMORY)
    torch.cuda.synchronize()
    return {
        "seconds": time.perf_counter() - begun,
        "MiB": torch.cuda.max_memory_allocated() / 2**20,
        "relative duality gap": solution.duality_gap,
    }


if __name__ == "__main__":
    main()
