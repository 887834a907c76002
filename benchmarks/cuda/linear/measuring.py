"""Times and memory of linear attention beside those of other attentions in the same run."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import torch

from benchmarks.cuda.linear.checks import attempted
from benchmarks.cuda.linear.contenders import (
    HEAD_DIM,
    HEADS,
    SIZES,
    contenders,
    forward,
    recorded,
    tensors,
    training,
)
from benchmarks.cuda.timing import Call, interleaved, peak_memory
from primaldual import preset


def calls(is_causal: bool, length: int, batch: int, backward: bool) -> dict[str, Call]:
    """What is timed, by name, those that run at all."""
    *inputs, gradient = tensors(length, batch)
    if backward:
        inputs = [tensor.requires_grad_() for tensor in inputs]
    found = {}
    for name, attend in contenders(is_causal).items():
        call = training(attend, inputs, gradient) if backward else forward(attend, inputs)
        if attempted(f"{name} N={length}", call) is None:
            found[name] = call
    for name in [name for name in found if name != "attend"]:
        graph = attempted(f"recording {name}", recorded, found[name])
        if isinstance(graph, torch.cuda.CUDAGraph):
            found[f"{name}, graph"] = graph.replay
    return found


def times() -> dict[str, Any]:
    """Microseconds of every contender, and its ratio to SDPA in the same run."""
    found: dict[str, Any] = {}
    for is_causal in (False, True):
        for length, batch in SIZES:
            for backward in (False, True):
                name = f"{'causal' if is_causal else 'all'} N={length} B={batch} {'train' if backward else 'forward'}"
                case = is_causal, length, batch, backward
                found[name] = attempted(name, lambda case=case: interleaved(calls(*case)))
                print_times(name, found[name])
    return found


def print_times(name: str, found: Mapping[str, Any]) -> None:
    """One line."""
    if "sdpa" in found:
        base = found["sdpa"]["median_us"]
        parts = (
            f"{who} {each['median_us']:.0f} us ({each['median_us'] / base:.3f})"
            for who, each in found.items()
        )
        print(f"{name}: {', '.join(parts)}", flush=True)


def memory() -> dict[str, Any]:
    """Peak memory above inputs, in MiB."""
    found: dict[str, Any] = {}
    for is_causal in (False, True):
        for length, batch in SIZES:
            for backward in (False, True):
                made = calls(is_causal, length, batch, backward)
                peaks = {who: peak_memory(call) / 2**20 for who, call in made.items() if "graph" not in who}
                name = f"{'causal' if is_causal else 'all'} N={length} {'train' if backward else 'forward'}"
                found[name] = peaks
                print(
                    f"memory {name}:", *(f"{who} {peak:.1f} MiB" for who, peak in peaks.items()), flush=True
                )
    return found


def host_times() -> dict[str, Any]:
    """Microseconds that the host takes for a call, the device having next to nothing to do."""
    found: dict[str, Any] = {}
    for backward in (False, True):
        for who, call in calls(False, 64, 1, backward).items():
            torch.cuda.synchronize()
            begun = time.perf_counter()
            for _ in range(200):
                call()
            found[f"{who} {'train' if backward else 'forward'}"] = (time.perf_counter() - begun) / 200 * 1e6
            torch.cuda.synchronize()
    print("host:", *(f"{who} {each:.0f} us" for who, each in found.items()), flush=True)
    form = preset("linear").explain((8, HEADS, 1024, HEAD_DIM), dtype=torch.bfloat16, device="cuda").forms
    print("attend runs the form", *form, flush=True)
    return found
