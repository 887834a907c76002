"""Decoding on a GPU, checked and timed: ``python -m benchmarks.cuda.decoding OUT.json``, less than a minute.

Steps are compared with the definition in float64 first. Then a step with 4096 cached tokens is timed, eager and as a CUDA
graph, beside ``scaled_dot_product_attention`` over a cache of that length.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from benchmarks.cuda.timing import card, interleaved
from primaldual import CapturedStep, PrimalProblem, preset
from primaldual.kernels.gpu.decode_step import CachedHeads, DecodeStep
from primaldual.primal.decoding.state import DecodingState

SPECS = ("softmax", "bn", "sh(1,2,4,8)", "bn+sh(1,2,4,8)", "window(64)")
BATCH, HEADS, HEAD_DIM, CACHED = 8, 16, 64, 4096

BARS = {torch.float32: (30.0, 3e-7), torch.bfloat16: (9.0, 8e-3)}
"""Accepted errors of steps, in errors of the definition in the same dtype, which are credited with at least the second."""

REWIND = 16
"""Steps after which a timed state goes back to its first length."""

BACKENDS = {
    "cuDNN": SDPBackend.CUDNN_ATTENTION,
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
}

Call = Callable[[], object]


def spec_of(spec: str, heads: int) -> str:
    """The spec with its scales repeated for so many heads.

    Example:
        >>> spec_of("bn+sh(1,2)", 4)
        'bn+sh(1,2,1,2)'
    """
    before, word, scales = spec.partition("sh(")
    if not word:
        return spec
    numbers = scales.rstrip(")").split(",")
    return f"{before}sh({','.join(numbers * (heads // len(numbers)))})"


def draw(length: int, dtype: torch.dtype, heads: int = HEADS, kv_heads: int | None = None) -> list[Tensor]:
    """Query, key and value of random tokens, heads last in memory as layers give them."""
    generator = torch.Generator("cuda").manual_seed(0)
    shapes = [(BATCH, length, each, HEAD_DIM) for each in (heads, kv_heads or heads, kv_heads or heads)]
    return [
        torch.randn(shape, generator=generator, device="cuda", dtype=dtype).transpose(1, 2)
        for shape in shapes
    ]


def started(
    spec: str, tokens: list[Tensor], prompt: int, capacity: int, heads: int = HEADS
) -> tuple[PrimalProblem, DecodingState]:
    """A problem, and its state after a prompt."""
    query, key, value = tokens
    problem = preset(spec_of(spec, heads)).bind(heads, HEAD_DIM).cuda()
    state = problem.init_state(
        BATCH, heads, HEAD_DIM, kv_heads=key.shape[1], capacity=capacity, dtype=query.dtype, device="cuda"
    )
    problem.step(state, query[:, :, :prompt], key[:, :, :prompt], value[:, :, :prompt])
    return problem, state


def check(spec: str, dtype: torch.dtype, kv_heads: int | None, steps: int = 200, prompt: int = 50) -> str:
    """Decode tokens, half of them eager and half as a graph; how far the outputs are from the definition."""
    heads = 8
    tokens = draw(prompt + steps, dtype, heads, kv_heads)
    problem, state = started(spec, tokens, prompt, 64, heads)
    captured = CapturedStep(problem, state)
    found = []
    for row in range(prompt, prompt + steps):
        token = [tensor[:, :, row : row + 1] for tensor in tokens]
        eager = row < prompt + steps // 2
        found.append(problem.step(state, *token) if eager else captured(*token).clone())
    exact = problem.dense(*(tensor.double() for tensor in tokens), is_causal=True)[:, :, prompt:]
    defined = problem.dense(*tokens, is_causal=True)[:, :, prompt:]
    errors = [float((out.double() - exact).norm() / exact.norm()) for out in (torch.cat(found, 2), defined)]
    bar, floor = BARS[dtype]
    limit = bar * max(floor, errors[1])
    verdict = "PASS" if errors[0] <= limit else "FAIL"
    return f"{verdict} error {errors[0]:.2g}, of the definition {errors[1]:.2g}, accepted {limit:.2g}"


def as_graph(call: Call) -> Call:
    """The call as a CUDA graph."""
    call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay


def rewound(call: Call, state: DecodingState, positions: Tensor) -> Call:
    """The call, after some of which the state goes back, so that it stays about as long."""
    count, first = [0], positions.clone()

    def again() -> None:
        call()
        count[0] += 1
        if count[0] % REWIND == 0:
            positions.copy_(first)
            state.common = CACHED

    return again


def ours(spec: str) -> dict[str, Call]:
    """Steps of a problem: eager, as a graph, and by CapturedStep, which copies its inputs and counts."""
    tokens = draw(CACHED, torch.bfloat16)
    problem, state = started(spec, tokens, CACHED, CACHED + 64)
    token = [tensor[:, :, :1].clone() for tensor in tokens]
    with torch.no_grad():
        fixed = state.fixed_step()
        assert fixed is not None, f"{spec}: no kernels serve it"
        graph = as_graph(lambda: fixed(*token))
        fixed.positions.fill_(CACHED)
        captured = CapturedStep(problem, state)
        captured(*token)
        fixed.positions.fill_(CACHED)
        state.common = CACHED
    calls: dict[str, Call] = {
        f"{spec}, eager": lambda: problem.step(state, *token),
        f"{spec}, graph": graph,
        f"{spec}, CapturedStep": lambda: captured(*token),
    }
    return {name: rewound(call, state, fixed.positions) for name, call in calls.items()}


def theirs(backend: str) -> dict[str, Call]:
    """SDPA of one query over a cache that is full."""
    query = draw(1, torch.bfloat16)[0]
    keys, values = (tensor.contiguous() for tensor in draw(CACHED, torch.bfloat16)[1:])

    def attend() -> Tensor:
        with sdpa_kernel(BACKENDS[backend]):
            return scaled_dot_product_attention(query, keys, values)

    return {f"SDPA {backend}, eager": attend, f"SDPA {backend}, graph": as_graph(attend)}


def default_sdpa() -> dict[str, Call]:
    """The same by the backend that PyTorch takes."""
    query = draw(1, torch.bfloat16)[0]
    keys, values = (tensor.contiguous() for tensor in draw(CACHED, torch.bfloat16)[1:])

    def attend() -> Tensor:
        return scaled_dot_product_attention(query, keys, values)

    return {"SDPA, eager": attend, "SDPA, graph": as_graph(attend)}


def tuned(splits: int, block: int) -> dict[str, Call]:
    """Softmax with other parts of the keys than those chosen, as a graph."""
    shape = (BATCH, HEADS, CACHED + 64, HEAD_DIM)
    keys, values = torch.randn(2, *shape, device="cuda", dtype=torch.bfloat16).unbind(0)
    heads = list(range(HEADS))
    caches = [CachedHeads(keys, values, None, None, None, None, None, 1, 0, heads, heads)]
    step = DecodeStep(caches, [CACHED] * BATCH, HEAD_DIM**-0.5, splits=splits, block=block)
    token = draw(1, torch.bfloat16)
    graph = as_graph(lambda: step(*token))
    step.positions.fill_(CACHED)
    count = [0]

    def again() -> None:
        graph()
        count[0] += 1
        if count[0] % REWIND == 0:
            step.positions.fill_(CACHED)

    return {f"{splits} splits, blocks of {block}": again}


@contextmanager
def reported(name: str, failures: list[str]) -> Iterator[None]:
    """Print and keep what fails, and go on."""
    try:
        yield
    except Exception as error:
        failures.append(f"{name}: {type(error).__name__}: {str(error)[:300]}")
        print("FAIL", failures[-1], flush=True)


def run() -> dict[str, Any]:
    """All checks, then all timings; what fails is reported and left out."""
    failures: list[str] = []
    checks: dict[str, str] = {}
    for dtype in BARS:
        for spec, kv_heads in [*((spec, None) for spec in SPECS), ("softmax", 2), ("bn+sh(2)", 2)]:
            name = f"{spec}, {kv_heads or 'all'} key heads, {dtype}"
            with reported(name, failures):
                checks[name] = check(spec, dtype, kv_heads)
                print(f"{checks[name]}: {name}", flush=True)
    contenders: dict[str, Call] = {}
    for make, argument in [*((theirs, backend) for backend in BACKENDS), *((ours, spec) for spec in SPECS)]:
        with reported(argument, failures):
            contenders |= make(argument)
    with reported("SDPA", failures):
        contenders |= default_sdpa()
    times: dict[str, dict[str, float]] = {}
    with reported("timing", failures), torch.no_grad():
        times = interleaved(contenders)
    for name, found in times.items():
        base = times.get("SDPA, graph" if name.endswith("graph") else "SDPA, eager")
        ratio = f"{found['median_us'] / base['median_us']:.2f} of SDPA's" if base else ""
        print(f"{name}: {found['median_us']:.1f} us, {ratio}", flush=True)
    del contenders
    sweep: dict[str, Call] = {}
    for splits in (2, 4, 8, 16):
        for block in (32, 64):
            with reported(f"{splits} splits", failures):
                sweep |= tuned(splits, block)
    tuning: dict[str, dict[str, float]] = {}
    with reported("tuning", failures), torch.no_grad():
        tuning = interleaved(sweep, repetitions=15)
    for name, found in tuning.items():
        print(f"{name}: {found['median_us']:.1f} us", flush=True)
    return {
        "shape": {
            "batch": BATCH,
            "heads": HEADS,
            "head_dim": HEAD_DIM,
            "cached": CACHED,
            "dtype": "bfloat16",
        },
        "checks": checks,
        "times": times,
        "tuning": tuning,
        "failures": failures,
    }


def main() -> None:
    """Parse, run and write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    found = run() | {"card": card()}
    options.out.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
