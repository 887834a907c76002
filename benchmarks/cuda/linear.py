"""Linear attention on one GPU: ``python -m benchmarks.cuda.linear OUT.json [--tune]`` checks, then times it.

``--tune`` times other blocks, warps and stages of every kernel instead, on the device alone. The times of a call include
what the host does; those named "graph" replay a recorded call, so that they are of the device alone.
"""

from __future__ import annotations

import argparse
import json
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from benchmarks.cuda.linear_tuning import tune
from benchmarks.cuda.timing import Call, card, interleaved, peak_memory
from primaldual import preset
from primaldual.kernels.gpu.linear import linear_attention

HEADS, HEAD_DIM = 16, 64
SIZES = (1024, 8), (4096, 2), (16384, 1)
TOLERANCES = {torch.bfloat16: 2e-2, torch.float16: 2e-3, torch.float32: 1e-5}
"""Largest error of outputs and gradients, of the largest number of each."""

SHAPES = (
    (1, 16, 16, 1000, 64, 64), (2, 4, 2, 257, 64, 64), (2, 3, 3, 130, 128, 128), (1, 2, 2, 300, 20, 40),
    (1, 2, 1, 70, 32, 16),
)  # fmt: skip
"""Batch, heads, kv heads, N, D, Dv."""

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


def main() -> None:
    """Run everything, and write what is known after every step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--tune", action="store_true")
    chosen = parser.parse_args()
    found: dict[str, Any] = {"card": card()}
    steps = [tune] if chosen.tune else [check_bfloat16, times, memory, host_times, check_others]
    for step in steps:
        begun = time.perf_counter()
        found[step.__name__] = attempted(step.__name__, step)
        print(f"{step.__name__}: {time.perf_counter() - begun:.1f} s", flush=True)
        chosen.out.write_text(json.dumps(found, indent=1) + "\n")


def attempted(name: str, call: Callable[[], Any]) -> Any:
    """What a call gives; a failure is printed in one line, and is the result."""
    try:
        return call()
    except Exception as error:  # whatever fails, the next case is wanted
        place = traceback.extract_tb(error.__traceback__)[-1]
        told = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''} ({place.name}:{place.lineno})"
        print(f"FAILED {name}: {told}", flush=True)
        return {"failed": told}


def check_bfloat16() -> dict[str, Any]:
    """Errors in the type that is timed."""
    return check(torch.bfloat16)


def check_others() -> dict[str, Any]:
    """Errors in the other types."""
    return {**check(torch.float16), **check(torch.float32)}


def check(dtype: torch.dtype) -> dict[str, Any]:
    """Relative errors against the kernel matrix in float64, of outputs and gradients, masked or not."""
    found = {}
    for shape in SHAPES:
        for is_causal in (False, True):
            name = f"{str(dtype)[6:]} {shape} {'causal' if is_causal else 'all'}"
            errors = attempted(name, lambda case=(shape, is_causal): errors_of(*case, dtype))
            found[name] = errors
            if "failed" not in errors:
                passed = max(errors.values()) <= TOLERANCES[dtype]
                told = " ".join(f"{part} {error:.1e}" for part, error in errors.items())
                print(f"{'PASS' if passed else 'FAIL'} {name}: {told}", flush=True)
    return found


def errors_of(shape: tuple[int, ...], is_causal: bool, dtype: torch.dtype) -> dict[str, float]:
    """Errors by tensor, of the largest number in it; the last sequence is masked in part."""
    batch, heads, kv_heads, length, head_dim, value_dim = shape
    torch.manual_seed(0)
    sizes = (heads, head_dim), (kv_heads, head_dim), (kv_heads, value_dim), (heads, value_dim)
    *inputs, gradient = (
        torch.randn(batch, length, *size, device="cuda").to(dtype).transpose(1, 2) for size in sizes
    )
    mask = torch.ones(batch, 1, 1, length, dtype=torch.bool, device="cuda")
    mask[-1, :, :, : length // 3] = False
    leaves = [tensor.requires_grad_() for tensor in inputs]
    exact = [tensor.detach().double().requires_grad_() for tensor in inputs]
    out, wanted = (
        linear_attention(*leaves, key_mask=mask, is_causal=is_causal),
        definition(*exact, mask, is_causal),
    )
    results = [out, *torch.autograd.grad(out, leaves, gradient)]
    truths = [wanted, *torch.autograd.grad(wanted, exact, gradient.double())]
    return {
        name: ((one.double() - other).abs().max() / other.abs().max()).item()
        for name, one, other in zip(("out", "dq", "dk", "dv"), results, truths, strict=True)
    }


def definition(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, is_causal: bool) -> Tensor:
    """The kernel matrix, masked and normalised, times the values."""
    group = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(group, 1), value.repeat_interleave(group, 1)
    query, key = (torch.nn.functional.elu(inputs) + 1 for inputs in (query, key))
    kernels = (query @ key.transpose(-2, -1)) * mask
    kernels = kernels.tril() if is_causal else kernels
    totals = kernels.sum(-1, keepdim=True)
    return kernels @ value / torch.where(totals == 0, torch.inf, totals)


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
        return lambda q, k, v: function(*(inputs.transpose(1, 2) for inputs in (q, k, v)), normalize=True)[0]

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
    if "kernels" in found and isinstance(
        graph := attempted("graph", lambda: recorded(found["kernels"])), torch.cuda.CUDAGraph
    ):
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
