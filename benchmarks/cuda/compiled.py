"""``python -m benchmarks.cuda.compiled OUT.json``: torch.compile of attentions against eager mode, on one GPU.

Every case says whether one graph serves forward and backward, how far its results are from eager ones, and its times.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import primaldual as pdl
from benchmarks.cuda.timing import card, interleaved
from primaldual.kernels.masks import Attendable
from primaldual.primal.forms.choice import asked, choose
from primaldual.primal.question import GRAPH

HEADS, WIDTH = 16, 64

SHAPES = {"N=1024, B=8": (8, 1024), "N=4096, B=2": (2, 4096)}

SPECS = (
    "softmax",
    "bn",
    "sh(1,1,1,1,2,2,2,2,4,4,4,4,8,8,8,8)",
    "window(64)",
    "linear",
    "bn+sh(1,1,1,1,2,2,2,2,4,4,4,4,8,8,8,8)",
)

ROUNDING = 1e-2
"""Largest distance from eager results, of their norm: a few roundings to bfloat16."""

SECONDS = 90
"""No case begins later than this."""


class Case(NamedTuple):
    """What is compiled.

    Attributes:
        call: what is called with ``tensors``.
        tensors: inputs, which ask for gradients.
        leaves: all of which gradients are taken.
        forms: names of the forms that eager mode and graphs take.
    """

    call: Callable[..., Tensor]
    tensors: tuple[Tensor, ...]
    leaves: tuple[Tensor, ...]
    forms: dict[str, list[str]]


def attention(spec: str, is_causal: bool, batch: int, length: int) -> Case:
    """The attention alone, heads last in memory."""
    problem = pdl.preset(spec).bind(HEADS, WIDTH).to("cuda")
    tensors = tuple(
        torch.randn(batch, length, HEADS, WIDTH, device="cuda", dtype=torch.bfloat16)
        .transpose(1, 2)
        .requires_grad_()
        for _ in range(3)
    )

    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return problem.attend(query, key, value, is_causal=is_causal)

    sets = problem.parts().subset.head_sets(HEADS)
    eager = asked(*tensors, length, len(sets), Attendable(is_causal=is_causal), 0.0)
    questions = {"eager": eager, "graph": eager._replace(mode=GRAPH)}
    forms = {
        name: list(dict.fromkeys(form.name for form in choose(problem.parts(), sets, question)))
        for name, question in questions.items()
    }
    return Case(attend, tensors, tensors, forms)


def layer(spec: str, is_causal: bool, batch: int, length: int) -> Case:
    """A layer with float32 parameters under autocast."""
    mixer = pdl.MultiheadAttention(HEADS * WIDTH, HEADS, attention=spec, batch_first=True, device="cuda")
    tokens = torch.randn(batch, length, HEADS * WIDTH, device="cuda", requires_grad=True)

    def mix(tokens: Tensor) -> Tensor:
        with torch.autocast("cuda", torch.bfloat16):
            out: Tensor = mixer(tokens, tokens, tokens, need_weights=False, is_causal=is_causal)[0]
        return out

    parameters = tuple(each for each in nn.ModuleList([mixer]).parameters() if each.requires_grad)
    return Case(mix, (tokens,), (tokens, *parameters), {})


def measure(case: Case) -> dict[str, Any]:
    """Distances of compiled results from eager ones, and times of both."""
    torch._dynamo.reset()
    compiled = torch.compile(case.call, fullgraph=True, dynamic=False)
    start = time.perf_counter()
    out = compiled(*case.tensors)
    gradient = torch.randn_like(out)
    found = (out, *torch.autograd.grad(out, case.leaves, gradient, allow_unused=True))
    torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    wanted_out = case.call(*case.tensors)
    wanted = (wanted_out, *torch.autograd.grad(wanted_out, case.leaves, gradient, allow_unused=True))
    distances = [distance(*pair) for pair in zip(found, wanted, strict=True) if pair[1] is not None]

    def both(call: Callable[..., Tensor]) -> Callable[[], object]:
        return lambda: torch.autograd.grad(call(*case.tensors), case.leaves, gradient, allow_unused=True)

    def forward(call: Callable[..., Tensor]) -> Callable[[], object]:
        return lambda: call(*(tensor.detach() for tensor in case.tensors))

    times = {
        kind: interleaved({"eager": make(case.call), "compiled": make(compiled)}, 10)
        for kind, make in (("forward", forward), ("forward+backward", both))
    }
    ratios = {
        kind: each["compiled"]["median_us"] / each["eager"]["median_us"] for kind, each in times.items()
    }
    return {"forms": case.forms, "seconds": seconds, "distances": distances, "ratios": ratios, "times": times}


def distance(found: Tensor, wanted: Tensor) -> float:
    """Of two tensors, relative to the norm of the second."""
    apart: Tensor = (found.float() - wanted.float()).norm() / wanted.float().norm().clamp(min=1e-30)
    return apart.item()


def attempted(name: str, make: Callable[..., Case], *arguments: Any) -> dict[str, Any]:
    """What a case gives, or how it failed, printed with PASS or FAIL."""
    try:
        found = measure(make(*arguments))
    except Exception as error:  # one case ends no other
        found = {"failed": f"{type(error).__name__}: {str(error)[:600]}"}
        print(f"FAIL {name}: {found['failed'][:200]!r}", flush=True)
        return found
    worst, ratios = max(found["distances"]), found["ratios"]
    print(
        f"{'PASS' if worst < ROUNDING else 'FAIL'} {name}: distance {worst:.1e}, compiled over eager "
        f"{ratios['forward']:.2f} / {ratios['forward+backward']:.2f}, first call {found['seconds']:.1f} s, "
        f"{found['forms']}",
        flush=True,
    )
    return found


def main() -> None:
    """Measure all cases that time allows and write one file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    start = time.perf_counter()
    torch.manual_seed(0)
    cases = [(attention, *each) for each in product(SPECS, (False, True), SHAPES)]
    late = [each for each in cases if each[1].startswith("bn+sh") and each[2]]  # the longest to compile
    first = [each for each in cases if each not in late]
    layers = [(layer, spec, False, "N=1024, B=8") for spec in ("bn", SPECS[2])]
    order = sorted(first, key=lambda each: list(SHAPES).index(each[3])) + layers + late
    found: dict[str, Any] = {"card": card()}
    for make, spec, is_causal, shape in order:
        name = f"{make.__name__} {spec}{' causal' if is_causal else ''}, {shape}"
        if time.perf_counter() - start > SECONDS:
            found[name] = {"failed": f"not begun within {SECONDS} seconds"}
            print(f"SKIP {name}: {found[name]['failed']}", flush=True)
        else:
            found[name] = attempted(name, make, spec, is_causal, *SHAPES[shape])
        out.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
