"""Inputs that the contract is tried on."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import TypedDict

import torch
from torch import Tensor

from primaldual.primal.problem import PrimalProblem
from primaldual.testing.fed_problem import fed

LONG = 70
"""A length at which factored forms pay off and causal sums need a second chunk of positions."""

SEARCHED = 16
"""The same where the coefficients of every query are searched for, which has neither features nor chunks."""


class Sizes(TypedDict, total=False):
    """Sizes that a check draws tensors of; those left out follow from the others."""

    query_length: int
    kv_heads: int


def prepared(
    problem: PrimalProblem, heads: int, head_dim: int, seed: int = 0, device: str = "cpu"
) -> PrimalProblem:
    """A copy on a device, bound to the sizes, with parameters moved off their first values, at which much is the identity.

    What it needs of every token besides, it makes of queries and keys itself, see :class:`FedProblem`.
    """
    problem = fed(deepcopy(problem)).bind(heads, head_dim)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in problem.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.3)
    return problem.to(device)


def tensors(
    heads: int,
    head_dim: int,
    length: int,
    *,
    query_length: int | None = None,
    kv_heads: int | None = None,
    batch: int = 2,
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
    device: str = "cpu",
) -> tuple[Tensor, Tensor, Tensor]:
    """Random query, key and value that require gradients, the same numbers on every device.

    The keys have a mean and unequal deviations.
    """
    generator = torch.Generator().manual_seed(seed)
    shapes = [(batch, heads, query_length or length, head_dim)] + 2 * [
        (batch, kv_heads or heads, length, head_dim)
    ]
    drawn = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    drawn[1] = drawn[1] * torch.linspace(0.5, 1.5, head_dim, dtype=torch.float64) + 0.7
    query, key, value = (tensor.to(device, dtype).requires_grad_() for tensor in drawn)
    return query, key, value


def masks(
    batch: int, heads: int, query_length: int, length: int, device: str = "cpu"
) -> dict[str, Tensor | None]:
    """No mask, padding, holes (with a fully masked sample), and a pattern with an empty row."""
    generator = torch.Generator().manual_seed(1)
    padding = torch.arange(length) < torch.tensor([length, max(1, length - 4)])[:, None]
    holes = torch.rand(batch, 1, 1, length, generator=generator) > 0.4
    holes[-1] = False
    pattern = torch.rand(1, heads, query_length, length, generator=generator) > 0.5
    pattern[:, :, query_length // 2] = False
    drawn = {"padding": padding[:, None, None, :], "holes": holes, "pattern": pattern}
    return {"none": None} | {name: mask.to(device) for name, mask in drawn.items()}


def long_length(problem: PrimalProblem) -> int:
    """The length of a long sequence for a problem."""
    return LONG if problem.solver.has_map else SEARCHED


def cases(problem: PrimalProblem, heads: int, length: int, fixed_length: bool) -> Iterator[tuple[int, Sizes]]:
    """Key lengths and sizes to try: self, grouped key heads, shorter and longer queries, a long sequence."""
    yield length, {}
    if heads % 2 == 0:
        yield length, {"kv_heads": heads // 2}
    if not fixed_length:
        yield length, {"query_length": 5}
        yield length, {"query_length": 1}
        yield 3, {"query_length": 7}
        yield long_length(problem), {}


def refuses(
    problem: PrimalProblem, query_length: int, key_length: int, mask: Tensor | None, is_causal: bool
) -> bool:
    """Whether such a call has no meaning for a problem: queries that are mixed, or a solver that needs others."""
    by_query = mask is not None and mask.shape[-2] > 1
    return (problem.transform.mixes_queries and query_length != key_length) or bool(
        problem.solver.call_refusal(query_length, key_length, is_causal, by_query)
    )


def filled(gradient: Tensor | None) -> Tensor:
    """A gradient, 0 where the input was not used."""
    return torch.zeros(()) if gradient is None else gradient
