"""Checks of linear attention on one GPU against the kernel matrix in float64, in processes that compile side by side."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from multiprocessing import get_context
from typing import Any, NamedTuple

import torch
from torch import Tensor

from primaldual.kernels.gpu.linear import linear_attention

TOLERANCES = {torch.bfloat16: 2e-2, torch.float16: 2e-3, torch.float32: 1e-5}
"""Largest error of outputs and gradients, of the largest number of each."""

WORKERS = 8


class Sizes(NamedTuple):
    """Sizes of a check, and whether the last sequence is masked in part."""

    batch: int
    heads: int
    kv_heads: int
    length: int
    head_dim: int
    value_dim: int
    masked: bool


SIZES = (
    Sizes(1, 16, 16, 1000, 64, 64, False),
    Sizes(2, 4, 2, 257, 64, 64, True),
    Sizes(2, 3, 3, 130, 128, 128, False),
    Sizes(2, 2, 1, 300, 20, 40, True),
)


class Case(NamedTuple):
    """One check."""

    sizes: Sizes
    dtype: torch.dtype
    is_causal: bool

    def __str__(self) -> str:
        return f"{str(self.dtype)[6:]} {'causal' if self.is_causal else 'all'} {tuple(self.sizes)}"


def check() -> dict[str, Any]:
    """Relative errors of all cases, printed with PASS or FAIL."""
    cases = [Case(*each) for each in product(SIZES, TOLERANCES, (False, True))]
    workers = min(WORKERS, (os.cpu_count() or 2) - 1)
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        results = [pool.submit(attempted, str(case), errors_of, case) for case in cases]
        return {str(case): told(case, result.result()) for case, result in zip(cases, results, strict=True)}


def told(case: Case, errors: dict[str, Any]) -> dict[str, Any]:
    """The errors, printed."""
    if "failed" not in errors:
        passed = max(errors.values()) <= TOLERANCES[case.dtype]
        numbers = " ".join(f"{part} {error:.1e}" for part, error in errors.items())
        print(f"{'PASS' if passed else 'FAIL'} {case}: {numbers}", flush=True)
    return errors


def attempted(name: str, call: Callable[..., Any], *arguments: object) -> Any:
    """What a call gives; a failure is printed in one line, and is the result."""
    try:
        return call(*arguments)
    except Exception as error:  # whatever fails, the next case is wanted
        place = traceback.extract_tb(error.__traceback__)[-1]
        words = str(error).splitlines() or [""]
        failure = f"{type(error).__name__}: {words[0]} ({place.name}:{place.lineno})"
        print(f"FAILED {name}: {failure}", flush=True)
        return {"failed": failure}


def errors_of(case: Case) -> dict[str, float]:
    """Errors by tensor, of the largest number in it."""
    batch, heads, kv_heads, length, head_dim, value_dim, masked = case.sizes
    torch.manual_seed(0)
    widths = (heads, head_dim), (kv_heads, head_dim), (kv_heads, value_dim), (heads, value_dim)
    *inputs, gradient = (
        torch.randn(batch, length, *width, device="cuda").to(case.dtype).transpose(1, 2) for width in widths
    )
    mask = None
    if masked:
        mask = torch.ones(batch, 1, 1, length, dtype=torch.bool, device="cuda")
        mask[-1, :, :, : length // 3] = False
    leaves = [tensor.requires_grad_() for tensor in inputs]
    exact = [tensor.detach().double().requires_grad_() for tensor in inputs]
    out = linear_attention(*leaves, key_mask=mask, is_causal=case.is_causal)
    wanted = definition(exact[0], exact[1], exact[2], mask, case.is_causal)
    results = [out, *torch.autograd.grad(out, leaves, gradient)]
    truths = [wanted, *torch.autograd.grad(wanted, exact, gradient.double())]
    return {
        name: ((one.double() - other).abs().max() / other.abs().max()).item()
        for name, one, other in zip(("out", "dq", "dk", "dv"), results, truths, strict=True)
    }


def definition(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, is_causal: bool) -> Tensor:
    """The kernel matrix, masked and normalised, times the values."""
    group = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(group, 1), value.repeat_interleave(group, 1)
    query, key = (torch.nn.functional.elu(inputs) + 1 for inputs in (query, key))
    kernels = query @ key.transpose(-2, -1)
    kernels = kernels if mask is None else kernels * mask
    kernels = kernels.tril() if is_causal else kernels
    totals = kernels.sum(-1, keepdim=True)
    return kernels @ value / torch.where(totals == 0, torch.inf, totals)
