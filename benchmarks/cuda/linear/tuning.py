"""Blocks, warps and stages of the kernels of linear attention: which are fastest on a GPU."""

from __future__ import annotations

from statistics import median
from typing import Any

import torch

from benchmarks.cuda.linear.contenders import SIZES, contenders, forward, recorded, tensors, training
from primaldual.kernels.gpu import (
    linear_causal,
    linear_causal_gradients,
    linear_gradients,
    linear_outputs,
    linear_passes,
    linear_sums,
)
from primaldual.kernels.gpu.linear_launch import Launch

CANDIDATES: dict[str, tuple[Any, str, bool, bool, tuple[tuple[int, int, int], ...]]] = {
    "sums": (linear_sums, "KEY_SUMS", False, False, ((64, 4, 2), (64, 8, 3), (128, 8, 2), (32, 4, 4))),
    "outputs": (linear_outputs, "OUTPUTS", False, False, ((64, 4, 2), (64, 8, 3), (128, 8, 2))),
    "of queries": (linear_gradients, "QUERY_GRADIENTS", False, True, ((64, 8, 2), (32, 4, 2), (64, 4, 1))),
    "of keys": (linear_gradients, "KEY_GRADIENTS", False, True, ((64, 8, 2), (32, 4, 2), (64, 4, 3))),
    "causal outputs": (linear_causal, "OUTPUTS", True, False, ((64, 8, 2), (32, 4, 2), (64, 4, 1), (64, 4, 3))),
    "causal of queries": (
        linear_causal_gradients, "QUERY_GRADIENTS", True, True, ((64, 8, 2), (64, 4, 2), (32, 4, 1), (32, 8, 2)),
    ),
    "causal of keys": (
        linear_causal_gradients, "KEY_GRADIENTS", True, True, ((64, 8, 2), (64, 4, 2), (32, 4, 1), (32, 8, 2)),
    ),
}  # fmt: skip
"""By kernel: where its launches stand, whether it is causal, whether it is of the backward, and what else is tried."""


def tune() -> dict[str, dict[str, list[float]]]:
    """Microseconds of the attention, on the device alone, at N = 1024, 4096 and 16384; the best launch stays."""
    found: dict[str, dict[str, list[float]]] = {}
    for name, (module, table, is_causal, backward, others) in CANDIDATES.items():
        launches = getattr(module, table)
        tried: dict[str, list[float]] = {}
        for launch in (launches.narrow, *(Launch(*each) for each in others)):
            setattr(module, table, launches._replace(narrow=launch))
            tried[str(tuple(launch))] = timed(is_causal, backward)
        best = keep_best(name, tried)
        setattr(module, table, launches._replace(narrow=Launch(*map(int, best.strip("()").split(",")))))
        found[name] = tried
    for name, is_causal in (("PROGRAMS", False), ("CAUSAL_PROGRAMS", True)):
        tried = {}
        for programs in (128, 256, 512, 1024):
            setattr(linear_passes, name, programs)
            tried[str(programs)] = [
                sum(pair) for pair in zip(timed(is_causal, False), timed(is_causal, True), strict=True)
            ]
        setattr(linear_passes, name, int(keep_best(name, tried)))
        found[name] = tried
    return found


def keep_best(name: str, tried: dict[str, list[float]]) -> str:
    """The one of the smallest sum of ratios to the first one; printed."""
    first = next(iter(tried.values()))
    ratios = {
        each: sum(us / base for us, base in zip(times, first, strict=True)) for each, times in tried.items()
    }
    best = min(ratios, key=lambda each: ratios[each])
    for each, times in tried.items():
        print(
            f"{name} {each}: {' '.join(f'{us:.1f}' for us in times)} us{'  BEST' if each == best else ''}",
            flush=True,
        )
    return best


def timed(is_causal: bool, backward: bool) -> list[float]:
    """Microseconds at the three sizes, infinite where it does not run."""
    found = []
    for length, batch in SIZES:
        try:
            *inputs, gradient = tensors(length, batch)
            attend = contenders(is_causal)["kernels"]
            if backward:
                inputs = [tensor.requires_grad_() for tensor in inputs]
                call = training(attend, inputs, gradient)
            else:
                call = forward(attend, inputs)
            found.append(replay_time(recorded(call)))
        except Exception as error:  # such as more shared memory than there is
            print(f"FAILED: {type(error).__name__}: {str(error)[:100]}", flush=True)
            found.append(float("inf"))
    return found


def replay_time(graph: torch.cuda.CUDAGraph) -> float:
    """Microseconds of one replay, the median of 15 times 10."""
    times = []
    for _ in range(15):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(10):
            graph.replay()
        end.record()
        end.synchronize()
        times.append(100 * start.elapsed_time(end))
    return median(times)
