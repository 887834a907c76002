"""Checks of digits: float32, bfloat16 and float16 beside the definition, and a huge key in the future."""

from __future__ import annotations

import torch

from primaldual.primal.problem import PrimalProblem
from primaldual.testing.comparing import close, gradients
from primaldual.testing.families import draw
from primaldual.testing.inputs import long_length, tensors
from primaldual.testing.rounding import BARS, LEAST, measure_rounding

ROUNDED = (
    "random",
    "constant, then N(5, 1)",
    "step",
    "three tokens repeated",
    "nearly constant dimensions",
    "constant, padded left",
)
"""Families on which the contract measures digits; ``benchmarks/precision.py`` measures all of them, and longer ones."""

FUTURE = 1e-5
"""How far a huge last key may move past outputs in float32, relative to their largest."""


def check_low_precision(
    problem: PrimalProblem, heads: int, head_dim: int, length: int, fixed_length: bool, device: str = "cpu"
) -> None:
    """bfloat16 is finite, and within a few of its roundings of float64 where keys suffice to normalise by."""
    for is_causal in (False, True):
        query, key, value = inputs = tensors(heads, head_dim, length, dtype=torch.bfloat16, device=device)
        exact = problem.dense(query.double(), key.double(), value.double(), None, is_causal)
        low = problem.attend(*inputs, None, is_causal)
        scene = f"{problem.spec()}, bfloat16, is_causal {is_causal}"
        assert low.dtype == torch.bfloat16, f"{scene}: outputs are {low.dtype}"
        assert low.isfinite().all(), f"{scene}: outputs are not finite"
        rows = slice(length // 2 if is_causal else 0, None)
        tolerance = 0.1 * float(exact[:, :, rows].detach().abs().max())
        close(low.double()[:, :, rows], exact[:, :, rows], scene, rtol=0.1, atol=tolerance)


def check_rounding(
    problem: PrimalProblem, heads: int, head_dim: int, length: int, fixed_length: bool, device: str = "cpu"
) -> None:
    """In float32, bfloat16 and float16 the error of attend is at most a few times that of dense, and both are finite.

    A factored attention sums over the keys before it divides, so its gradients keep the digits of the values only.
    """
    longest = long_length(problem)
    lengths = dict.fromkeys(ROUNDED, min(30, longest)) | {"random": longest}
    for dtype, bar in BARS.items():
        for family in ROUNDED:
            size = length if fixed_length else lengths[family]
            inputs = draw(family, (2, heads, size, head_dim), device=device)
            for is_causal in (False, True):
                forms = problem.explain(tuple(inputs.query.shape), is_causal=is_causal).forms
                factored = any("factored" in form for form in forms)
                found = measure_rounding(problem, inputs, dtype, is_causal, 1.0 if factored else LEAST)
                scene = f"{problem.spec()}, {dtype}, keys {family}, is_causal {is_causal}"
                if found.beyond_range:
                    continue
                for form, count in (("dense", found.dense_nonfinite), ("attend", found.attend_nonfinite)):
                    assert not count, f"{scene}: {count} numbers of {form} and its gradients are not finite"
                for part, ratio in found.ratios.items():
                    assert ratio <= bar, (
                        f"{scene}: the {part} of attend has {ratio:.3g} times the error of dense "
                        f"({found.attend[part]:.2g} and {found.dense[part]:.2g}); accepted is {bar:g} times"
                    )


def check_future(
    problem: PrimalProblem, heads: int, head_dim: int, length: int, fixed_length: bool, device: str = "cpu"
) -> None:
    """A last key of 1e4 moves no earlier causal output by more than 1e-5 of the largest, and no gradient to NaN."""
    for family in ("random", "step"):
        size = length if fixed_length else long_length(problem)
        inputs = draw(family, (2, heads, size, head_dim), device=device).rounded(torch.float32)
        query, key, value = (tensor.detach() for tensor in inputs[:3])
        far = key.clone()
        far[:, :, -1] = 1e4
        exact = problem.dense(query.double(), far.double(), value.double(), is_causal=True)
        representable = bool((exact.abs() < torch.finfo(torch.float32).max).all())
        for form in ("attend", "dense"):
            call = getattr(problem, form)
            near, moved = (
                call(query, each, value, is_causal=True)[:, :, :-1].detach() for each in (key, far)
            )
            change = float((moved - near).abs().max() / near.abs().max())
            assert change <= FUTURE, (
                f"{problem.spec()}, keys {family}, {form}: a last key of 1e4 moves earlier outputs by {change:.2g} of "
                f"their largest; accepted is {FUTURE:g}"
            )
            if not representable:
                continue
            leaves = [tensor.clone().requires_grad_() for tensor in (query, far, value)]
            found = gradients(call(leaves[0], leaves[1], leaves[2], is_causal=True), leaves)
            assert all(part.isfinite().all() for part in found), (
                f"{problem.spec()}, keys {family}, {form}: with a last key of 1e4 gradients are not finite"
            )
