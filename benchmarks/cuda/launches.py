"""``python -m benchmarks.cuda.launches OUT.json``: what each call spends on a GPU, kernel by kernel.

For every attention of benchmarks/cuda/attention.py, forward and in training: the kernels that a call launches, their
number and their microseconds in the mean of some calls, the longest first.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.cuda.attention import HEAD_DIM, HEADS, SHAPES, calls
from benchmarks.cuda.timing import Call, card

CALLS = 5
LONGEST_NAME = 60
SHOWN = 7


def main() -> None:
    """Profile and write after every shape."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    found: dict[str, Any] = {"card": card()}
    for length, batch in SHAPES:
        forward, training = calls(batch, HEADS, length, HEAD_DIM)
        found[f"N={length}, B={batch}"] = shape = {
            name: {"forward": launches(forward[name]), "training": launches(training[name])}
            for name in forward
        }
        for name, kinds in shape.items():
            for kind, each in kinds.items():
                shown = ", ".join(
                    f"{kernel[:34]} {figures['us']:.0f}" for kernel, figures in list(each.items())[:SHOWN]
                )
                print(
                    f"N={length} {name} {kind} {sum(f['us'] for f in each.values()):.0f}: {shown}", flush=True
                )
        out.write_text(json.dumps(found, indent=1) + "\n")


def launches(call: Call) -> dict[str, dict[str, float]]:
    """Launches and microseconds of every kernel in one call, by name, the longest first."""
    call()
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA]) as profiled:
        for _ in range(CALLS):
            call()
        torch.cuda.synchronize()
    events = [event for event in profiled.key_averages() if event.self_device_time_total > 0]
    events.sort(key=lambda event: event.self_device_time_total, reverse=True)
    return {
        event.key[:LONGEST_NAME]: {
            "launches": event.count / CALLS,
            "us": round(event.self_device_time_total / CALLS, 1),
        }
        for event in events
    }


if __name__ == "__main__":
    main()
