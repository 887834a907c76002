"""Comparisons whose message names the attention, the scene and what differs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.testing import assert_close

from primaldual.errors import UnsupportedError
from primaldual.primal.problem import PrimalProblem
from primaldual.testing.inputs import filled

REORDERED = 1e-12
"""Relative difference of float64 sums whose terms come in another order."""


def close(found: Tensor, wanted: Tensor, scene: str, *, rtol: float = 1e-8, atol: float = 1e-9) -> None:
    """Raise an AssertionError that starts with the scene unless the tensors agree."""
    assert_close(found, wanted, rtol=rtol, atol=atol, msg=lambda text: f"{scene}: {text}")


def repeatable(device: str) -> float:
    """Relative difference that two runs of one computation may have.

    On the CPU there is none. On a GPU kernels may add atomically, in any order, so a few roundings of float64 are accepted.
    """
    return 0.0 if torch.device(device).type == "cpu" else REORDERED


def gradients(
    out: Tensor, inputs: Sequence[Tensor], seed: Tensor | None = None, create_graph: bool = False
) -> list[Tensor]:
    """Gradients of ``(out * seed).sum()``, 0 where an input was not used; the seed is random if not given."""
    if seed is None:
        seed = torch.randn(out.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    if not out.requires_grad:
        return [torch.zeros_like(tensor) for tensor in inputs]
    found = torch.autograd.grad(out, list(inputs), seed.to(out), allow_unused=True, create_graph=create_graph)
    return [filled(part).expand_as(tensor).to(tensor) for part, tensor in zip(found, inputs, strict=True)]


def close_gradients(
    found: Sequence[Tensor], wanted: Sequence[Tensor], names: Sequence[str], scene: str
) -> None:
    """Raise an AssertionError that names the first gradient that differs."""
    for name, gradient, reference in zip(names, found, wanted, strict=True):
        close(gradient, reference, f"{scene}, gradient of {name}", rtol=1e-6, atol=1e-7)


def refusal(problem: PrimalProblem, error: Exception) -> bool:
    """Whether an exception says that the attention does not offer this: its kind, and the spec in its message."""
    return isinstance(error, UnsupportedError | NotImplementedError) and problem.spec() in str(error)
