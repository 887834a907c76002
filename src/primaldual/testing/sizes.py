"""Checks of sizes and memory: nothing to attend, nothing that attends, and any layout."""

from __future__ import annotations

import torch
from torch import Tensor

from primaldual.primal.problem import PrimalProblem
from primaldual.testing.comparing import close, close_gradients, gradients
from primaldual.testing.inputs import refuses, tensors


def check_empty_inputs(
    problem: PrimalProblem, heads: int, head_dim: int, length: int, fixed_length: bool, device: str = "cpu"
) -> None:
    """No keys, no queries or no samples: outputs of the right shape, zeros without keys, and zero gradients."""
    sizes = [(0, length, length)]
    if not fixed_length:
        sizes += [(2, 0, 0), (0, 0, 0), (2, 3, 0), (2, 0, 3)]
    for batch, queries, keys in sizes:
        shapes = [(batch, heads, queries, head_dim), *[(batch, heads, keys, head_dim)] * 2]
        for is_causal in (False, True):
            if refuses(problem, queries, keys, None, is_causal):
                continue
            for form in ("attend", "dense"):
                inputs = [
                    torch.ones(shape, dtype=torch.float64, device=device, requires_grad=True)
                    for shape in shapes
                ]
                scene = (
                    f"{problem.spec()}, {form}, batch {batch}, {queries} queries, {keys} keys, "
                    f"is_causal {is_causal}"
                )
                try:
                    out = getattr(problem, form)(*inputs, None, is_causal)
                    found = gradients(out, inputs)
                except Exception as error:
                    raise AssertionError(f"{scene}: {type(error).__name__}: {error}") from error
                assert out.shape == inputs[0].shape, f"{scene}: outputs have shape {tuple(out.shape)}"
                assert (out == 0).all(), f"{scene}: outputs must be 0"
                assert all((part == 0).all() for part in found), f"{scene}: gradients must be 0"


def _transposed(tensor: Tensor) -> Tensor:
    return tensor.mT.contiguous().mT


def _sliced(tensor: Tensor) -> Tensor:
    return torch.stack([tensor, torch.full_like(tensor, torch.nan)], -1).flatten(-2)[..., ::2]


def _expanded(tensor: Tensor) -> Tensor:
    return tensor[:1].expand_as(tensor)


LAYOUTS = {"transposed": _transposed, "every other number": _sliced, "expanded": _expanded}
"""The same numbers in other places of memory, for samples that are all alike."""


def check_memory_layout(
    problem: PrimalProblem, heads: int, head_dim: int, length: int, fixed_length: bool, device: str = "cpu"
) -> None:
    """Strides change nothing: transposed, sliced and expanded inputs give the outputs and gradients of plain ones."""
    drawn = [
        tensor.detach()[:1].repeat(2, 1, 1, 1) for tensor in tensors(heads, head_dim, length, device=device)
    ]
    seed = torch.randn(drawn[0].shape, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    for is_causal in (False, True):
        wanted = _outputs_and_gradients(problem, drawn, seed, is_causal)
        for name, layout in LAYOUTS.items():
            everything = [layout(tensor) for tensor in drawn]
            for scene, inputs in (("all", everything), ("query", [everything[0], *drawn[1:]])):
                found = _outputs_and_gradients(problem, inputs, seed, is_causal)
                text = f"{problem.spec()}, is_causal {is_causal}, {name}: {scene}"
                close(found[0], wanted[0], f"{text}, outputs")
                close_gradients(found[1:], wanted[1:], ("query", "key", "value"), text)


def _outputs_and_gradients(
    problem: PrimalProblem, inputs: list[Tensor], seed: Tensor, is_causal: bool
) -> list[Tensor]:
    leaves = [tensor.detach().requires_grad_() for tensor in inputs]
    out = problem.attend(leaves[0], leaves[1], leaves[2], is_causal=is_causal)
    return [out, *gradients(out, leaves, seed)]
