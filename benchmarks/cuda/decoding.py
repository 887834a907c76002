"""Decoding on a GPU, checked and timed: ``python -m benchmarks.cuda.decoding OUT.json``, less than a minute.

Steps are compared with the definition in float64 first. Then a step with 4096 cached tokens is timed, eager and as a CUDA
graph, beside ``scaled_dot_product_attention`` over a cache of that length.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from benchmarks.cuda.decoding_contenders import (
    BACKENDS,
    BATCH,
    CACHED,
    HEAD_DIM,
    HEADS,
    Call,
    default_sdpa,
    draw,
    ours,
    started,
    theirs,
    tuned,
)
from benchmarks.cuda.timing import card, interleaved
from primaldual import CapturedStep

SPECS = ("softmax", "bn", "sh(1,2,4,8)", "bn+sh(1,2,4,8)", "window(64)")

BARS = {torch.float32: (30.0, 3e-7), torch.bfloat16: (9.0, 8e-3)}
"""Accepted errors of steps, in errors of the definition in the same dtype, which are credited with at least the second."""


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
