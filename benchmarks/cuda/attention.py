"""``python -m benchmarks.cuda.attention OUT.json``: attentions on a GPU over SDPA: times, device times and memory.

Every case is checked against the definition in float64 first. Times are of calls from Python one after the other
(``eager``) and of replays of a CUDA graph of the same calls (``graph``), which leave out what Python takes; both forward
alone and with the backward, over ``scaled_dot_product_attention`` with the same causal flag in the same run.
"""

from __future__ import annotations

import argparse
import copy
import json
import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from benchmarks.cuda.timing import card, interleaved, kept_memory, peak_memory
from primaldual import preset

HEADS, HEAD_DIM = 16, 64
SHAPES = ((1024, 8), (4096, 2), (16384, 1))
SCALES = ",".join(map(str, (1,) * 4 + (2,) * 4 + (4,) * 4 + (8,) * 4))
SPECS = {
    "softmax": "softmax",
    "bn": "bn",
    "bn(gain=0.2)": "bn(gain=0.2)",
    "sh(1,2,4,8)": f"sh({SCALES})",
    "bn+sh(1,2,4,8)": f"bn+sh({SCALES})",
    "window(64)": "window(64)",
    "linear": "linear",
}
CHECKED = (
    ("bn", False, torch.bfloat16, 300), ("bn", True, torch.bfloat16, 300), ("bn", True, torch.bfloat16, 40),
    ("bn(beta=0.5,learnable=true)", True, torch.bfloat16, 200), ("bn+sh(1,2,4,8)", False, torch.bfloat16, 333),
    ("sh(1,2,4,8)", True, torch.bfloat16, 333), ("bn(gain=0.2)", False, torch.float16, 333),
    ("sh(1,2,3,8)", False, torch.float16, 333), ("window(20)", True, torch.bfloat16, 300),
    ("sh(1,2,4,8)", False, torch.bfloat16, 2500), ("bn+sh(1,1,8,8)", False, torch.bfloat16, 2500),
    ("bn", True, torch.bfloat16, 700), ("linear", False, torch.bfloat16, 300), ("linear", True, torch.bfloat16, 300),
    ("bn+sh(1,2,4,8)", True, torch.bfloat16, 200), ("bn+sh(1,2,4,8)", True, torch.bfloat16, 700),
    ("bn(gain=0.2)", True, torch.bfloat16, 300),
    ("bn(beta=0.5,learnable=true,gain=0.2)+sh(1,1,8,8)", True, torch.bfloat16, 333),
    ("window(20)+bn", False, torch.bfloat16, 200), ("sh(1,1,2,4,grid=8x8,prefix=1)", False, torch.bfloat16, 65),
    ("bn+sh(1,1,2,4,grid=8x8,prefix=1)", False, torch.bfloat16, 65), ("sh(1,2,3,8,prefix=2)", False, torch.float16, 333),
    ("bn(gain=0.2)+sh(3,2,3,3,grid=13x17)", False, torch.bfloat16, 221),
)  # fmt: skip
"""Spec, causal, type and length of the checks, with heads of 64 features."""

WIDTHS = (6, 16, 32, 96, 128)
"""Features of heads that causal bn, the form with most kernels, is checked with beside."""

WARMED = [(spec, HEADS, 1024, HEAD_DIM) for spec in SPECS.values()] + [
    (spec, 6, 65, 32)
    for spec in ("bn", "sh(1,1,1,2,2,4,grid=8x8,prefix=1)", "bn+sh(1,1,1,2,2,4,grid=8x8,prefix=1)")
]
"""Spec, heads, length and features of what is compiled before it is timed, here and in layers.py."""

WORKERS = 12
"""Processes that compile side by side before anything is timed."""

Call = Callable[[], object]
Case = tuple[str, bool, torch.dtype, int, int]


def main() -> None:
    """Check, time and write the file after every step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    found: dict[str, Any] = {"card": card(), "checks": checks(), "shapes": {}}
    for length, batch in SHAPES:
        found["shapes"][f"N={length}, B={batch}"] = measured(length, batch)
        out.write_text(json.dumps(found, indent=1) + "\n")


def checks() -> list[dict[str, Any]]:
    """Relative errors of outputs and gradients, beside those of the definition in the same type; in parallel."""
    with multiprocessing.get_context("spawn").Pool(WORKERS) as pool:
        warm = pool.map_async(_warm, WARMED)
        widths = [("bn", True, torch.bfloat16, 150, width) for width in WIDTHS]
        cases = [(*case, HEAD_DIM) for case in CHECKED] + widths
        begun = [_outcome(case, pool.apply_async(_checked, (case,))) for case in cases]
        found = [wait() for wait in begun]
        warm.wait()
    for each in found:
        print("PASS" if each["ok"] else "FAIL", each, flush=True)
    return found


def _outcome(case: Case, begun: Any) -> Callable[[], dict[str, Any]]:
    """What a check found, or how it ended."""

    def wait() -> dict[str, Any]:
        try:
            return begun.get()  # type: ignore[no-any-return] # a pool types no results
        except Exception as error:
            return {"case": [str(part) for part in case], "ok": False, "error": str(error)[:300]}

    return wait


def calls(batch: int, heads: int, length: int, width: int) -> tuple[dict[str, Call], dict[str, Call]]:
    """All attentions at one shape forward, and with the backward, without those that fail."""
    tensors, gradient = _tensors(batch, heads, length, width, torch.bfloat16)
    forward: dict[str, Call] = {}
    for is_causal in (False, True):
        prefix = "causal " if is_causal else ""
        forward[prefix + "SDPA"] = _sdpa(tensors, is_causal)
        for name, spec in SPECS.items():
            forward[prefix + name] = _attend(spec, tensors, is_causal)
    training = {name: _with_backward(call, tensors, gradient) for name, call in forward.items()}
    failed = {name for name, call in training.items() if _fails(name, call)}
    return (
        {name: call for name, call in forward.items() if name not in failed},
        {name: call for name, call in training.items() if name not in failed},
    )


def _fails(name: str, call: Call) -> bool:
    """Whether a call raises, which is printed and ends no other one."""
    try:
        call()
        torch.cuda.synchronize()
    except Exception as error:
        print(f"{name}: {type(error).__name__}: {str(error)[:300]}", flush=True)
        return True
    return False


def measured(length: int, batch: int) -> dict[str, Any]:
    """Times and memory of every attention at one shape."""
    forward, training = calls(batch, HEADS, length, HEAD_DIM)
    found = {
        name: {"forward MiB": peak_memory(call) / 2**20, "kept MiB": kept_memory(call) / 2**20}
        for name, call in forward.items()
    }
    for kind, contenders in (
        ("eager forward", forward), ("eager training", training),
        ("graph forward", captured(forward)), ("graph training", captured(training)),
    ):  # fmt: skip
        for name, times in interleaved(contenders, 8).items():
            found[name][kind] = times["median_us"]
    for name, figures in found.items():
        base = found["causal SDPA" if name.startswith("causal") else "SDPA"]
        ratios = {kind: figures[kind] / base[kind] for kind in figures if kind in base}
        print(
            f"N={length} {name}:",
            ", ".join(f"{kind} {ratio:.2f}" for kind, ratio in ratios.items()),
            flush=True,
        )
        figures["over SDPA"] = ratios
    return found


def _sdpa(tensors: list[Tensor], is_causal: bool) -> Call:
    return lambda: scaled_dot_product_attention(*tensors, is_causal=is_causal)


def _attend(spec: str, tensors: list[Tensor], is_causal: bool) -> Call:
    problem = preset(spec).bind(HEADS, HEAD_DIM).cuda()
    return lambda: problem.attend(*tensors, is_causal=is_causal)


def _with_backward(call: Call, tensors: list[Tensor], gradient: Tensor) -> Call:
    return lambda: torch.autograd.grad(call(), tensors, gradient)  # type: ignore[arg-type] # every call here gives a tensor


def captured(wanted: dict[str, Call]) -> dict[str, Call]:
    """The calls as CUDA graphs, without those that cannot be captured."""
    found: dict[str, Call] = {}
    for name, call in wanted.items():
        graph = torch.cuda.CUDAGraph()
        try:
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                call()
                call()
            torch.cuda.current_stream().wait_stream(side)
            with torch.cuda.graph(graph):
                call()
        except RuntimeError as error:
            print(f"{name}: no graph: {str(error)[:100]}", flush=True)
            continue
        found[name] = graph.replay
    return found


def _tensors(
    batch: int, heads: int, length: int, width: int, dtype: torch.dtype
) -> tuple[list[Tensor], Tensor]:
    """Query, key and value, heads last in memory, and a gradient."""
    torch.manual_seed(0)
    made = [
        torch.randn(batch, length, heads, width, device="cuda").to(dtype).transpose(1, 2) for _ in range(4)
    ]
    return [tensor.requires_grad_() for tensor in made[:3]], made[3]


def _warm(case: tuple[str, int, int, int]) -> None:
    """Compile what is timed, into Triton's cache."""
    spec, heads, length, width = case
    tensors, gradient = _tensors(2, heads, length, width, torch.bfloat16)
    problem = preset(spec).bind(heads, width).cuda()
    for is_causal in (False, True) if heads == HEADS else (False,):
        out = problem.attend(*tensors, is_causal=is_causal)
        torch.autograd.grad(out, tensors, gradient)
    torch.cuda.synchronize()


def _checked(case: Case) -> dict[str, Any]:
    spec, is_causal, dtype, length, width = case
    problem = preset(spec).bind(4, width).cuda()
    tensors, gradient = _tensors(2, 4, length, width, dtype)
    reference = copy.deepcopy(problem).double()
    wide = [tensor.detach().double().requires_grad_() for tensor in tensors]
    wanted = _both(reference.dense, wide, list(reference.parameters()), gradient.double(), is_causal)
    found = _both(problem.attend, tensors, list(problem.parameters()), gradient, is_causal)
    plain = _both(problem.dense, tensors, list(problem.parameters()), gradient, is_causal)
    errors = [
        (_error(got, wish), _error(own, wish)) for got, own, wish in zip(found, plain, wanted, strict=True)
    ]
    forms = problem.explain(tensors[0].shape, is_causal=is_causal, dtype=dtype, device="cuda").forms
    return {
        "spec": spec, "causal": is_causal, "dtype": str(dtype)[6:], "length": length, "width": width, "forms": forms,
        "ok": all(error <= 2 * own + 1e-3 for error, own in errors),
        "errors": [float(f"{error:.2g}") for error, _ in errors],
        "definition": [float(f"{own:.2g}") for _, own in errors],
    }  # fmt: skip


def _both(
    attend: Callable[..., Tensor],
    tensors: list[Tensor],
    learned: list[Any],
    gradient: Tensor,
    is_causal: bool,
) -> tuple[Tensor, ...]:
    out = attend(*tensors, is_causal=is_causal)
    return (out, *torch.autograd.grad(out, [*tensors, *learned], gradient))


def _error(got: Tensor, wanted: Tensor) -> float:
    return float((got.detach().double() - wanted.detach()).norm() / wanted.detach().norm())


if __name__ == "__main__":
    main()
