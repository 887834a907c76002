"""Linear attention on one GPU: ``python -m benchmarks.cuda.linear OUT.json [--tune]`` checks, then times it.

``--tune`` times other blocks, warps and stages of every kernel instead, on the device alone. The times of a call include
what the host does; those named "graph" replay a recorded call, so that they are of the device alone.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from benchmarks.cuda.linear_checks import attempted, check
from benchmarks.cuda.linear_tuning import tune
from benchmarks.cuda.timing import Call, card, interleaved, peak_memory
from primaldual import preset
from primaldual.kernels.gpu.linear import linear_attention

HEADS, HEAD_DIM = 16, 64
SIZES = (1024, 8), (4096, 2), (16384, 1)
Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


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


def tensors(length: int, batch: int) -> list[Tensor]:
    """Query, key, value and a gradient in bfloat16, heads last in memory."""
    torch.manual_seed(0)
    made = [torch.randn(batch, length, HEADS, HEAD_DIM, device="cuda") for _ in range(4)]
    return [tensor.bfloat16().transpose(1, 2) for tensor in made]


def contenders(is_causal: bool) -> dict[str, Attend]:
    """The attentions, by name; those of flash-linear-attention where it is installed."""
    problem = preset("linear")
    found: dict[str, Attend] = {
        "sdpa": lambda q, k, v: scaled_dot_product_attention(q, k, v, is_causal=is_causal),
        "kernels": lambda q, k, v: linear_attention(q, k, v, is_causal=is_causal),
        "attend": lambda q, k, v: problem.attend(q, k, v, is_causal=is_causal),
    }
    return {**found, **fla_contenders()} if is_causal else found


def fla_contenders() -> dict[str, Attend]:
    """Peers that take features as they are: what elu + 1 costs is not in their times."""
    try:
        from fla.ops import linear_attn
    except ImportError:
        return {}

    def peer(name: str) -> Attend:
        function = getattr(linear_attn, name)
        return lambda q, k, v: function(*(inputs.transpose(1, 2) for inputs in (q, k, v)), normalize=True)[
            0
        ].transpose(1, 2)

    return {f"fla {name}": peer(f"{name}_linear_attn") for name in ("chunk", "fused_chunk")}


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
    if "kernels" in found:
        graph = attempted("recording a graph", recorded, found["kernels"])
        if isinstance(graph, torch.cuda.CUDAGraph):
            found["kernels, graph"] = graph.replay
    return found


def forward(attend: Attend, inputs: list[Tensor]) -> Call:
    """A call without gradients."""

    def call() -> None:
        with torch.no_grad():
            attend(*inputs)

    return call


def training(attend: Attend, inputs: list[Tensor], gradient: Tensor) -> Call:
    """Outputs and all gradients."""

    def call() -> None:
        out = attend(*inputs)
        torch.autograd.grad(
            out, inputs, gradient if out.shape == gradient.shape else gradient.transpose(1, 2)
        )

    return call


def recorded(call: Call) -> torch.cuda.CUDAGraph:
    """A call as a CUDA graph, which keeps its memory."""
    call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph


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


if __name__ == "__main__":
    main()
