"""``python -m benchmarks.cuda OUT.json``: every check and timing on a GPU, each in a process of its own, in one file.

A part that fails, or runs for too long, is named in the file and ends no other one.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from torch.profiler import ProfilerActivity, profile

from benchmarks.cuda.timing import card

LONGEST = 600
"""Seconds after which a part is ended."""

SHAPES = {
    "N=1024, B=8": (8, 16, 1024, 64),
    "N=4096, B=2": (2, 16, 4096, 64),
    "N=16384, B=1": (1, 16, 16384, 64),
}
"""Queries of which the file names the kernel that ``scaled_dot_product_attention`` takes."""


def parts() -> list[str]:
    """Modules of this package that run by themselves, by name.

    Example:
        >>> {"contract", "decoding"} <= set(parts())
        True
    """
    folder = Path(__file__).parent
    files = [path for path in sorted(folder.glob("*.py")) if path.stem != "__main__"]
    return [path.stem for path in files if '__name__ == "__main__"' in path.read_text()]


def sdpa_kernels() -> dict[str, str]:
    """The longest kernel of ``scaled_dot_product_attention`` by shape, bfloat16, forward."""
    found = {}
    for name, shape in SHAPES.items():
        query, key, value = torch.randn(3, *shape, device="cuda", dtype=torch.bfloat16).unbind(0)
        scaled_dot_product_attention(query, key, value)
        with profile(activities=[ProfilerActivity.CUDA]) as profiled:
            scaled_dot_product_attention(query, key, value)
            torch.cuda.synchronize()
        events = sorted(profiled.key_averages(), key=lambda event: event.self_device_time_total)
        found[name] = events[-1].key[:120] if events else "unknown"
    return found


def run(name: str) -> dict[str, Any]:
    """What a part writes, or how it failed."""
    print(f"== {name}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.json"
        command = [sys.executable, "-m", f"benchmarks.cuda.{name}", str(out)]
        try:
            code = subprocess.run(command, timeout=LONGEST, check=False).returncode
        except subprocess.TimeoutExpired:
            return {"failed": f"took more than {LONGEST} seconds"}
        return json.loads(out.read_text()) if out.exists() else {"failed": f"ended with status {code}"}


def main() -> None:
    """Run the parts that are asked for, all by default, and write one file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", nargs="+", default=parts(), choices=parts(), metavar="PART")
    options = parser.parse_args()
    found: dict[str, Any] = {"card": card()}
    for name in options.only:
        found[name] = run(name)
        options.out.write_text(json.dumps(found, indent=1))
    try:
        found["sdpa"] = sdpa_kernels()
    except RuntimeError as error:  # a profiler that may not read the device
        found["sdpa"] = {"failed": str(error)[:300]}
    options.out.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
