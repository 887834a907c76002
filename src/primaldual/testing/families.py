"""Families of inputs: random ones, and those on which attentions lose digits."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Generator, Tensor


class Inputs(NamedTuple):
    """Query, key and value in float64, and a key mask (batch, 1, 1, Nk) or None."""

    query: Tensor
    key: Tensor
    value: Tensor
    mask: Tensor | None = None

    def rounded(self, dtype: torch.dtype) -> Inputs:
        """The same inputs in a dtype, as leaves that require gradients."""
        query, key, value = (tensor.detach().to(dtype).requires_grad_() for tensor in self[:3])
        return Inputs(query, key, value, self.mask)


Family = Callable[[tuple[int, int, int, int], Generator], Inputs]
"""Draws inputs of a shape (batch, heads, length, head_dim)."""


def random(shape: tuple[int, int, int, int], generator: Generator) -> Inputs:
    """Independent normal numbers."""
    query, key, value = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(3))
    return Inputs(query, key, value)


def constant_start(shape: tuple[int, int, int, int], generator: Generator) -> Inputs:
    """Keys that are all equal for two thirds of the sequence, then N(5, 1)."""
    query, key, value = random(shape, generator)[:3]
    stretch = shape[2] * 2 // 3
    key = key + 5
    key[:, :, :stretch] = key[:, :, :1] - 5
    return Inputs(query, key, value)


def step(shape: tuple[int, int, int, int], generator: Generator) -> Inputs:
    """Keys that are 0 in the first half and 1 in the second."""
    query, key, value = random(shape, generator)[:3]
    late = torch.arange(shape[2]) >= shape[2] // 2
    return Inputs(query, late.double()[:, None].expand_as(key).clone(), value)


def noisy_step(shape: tuple[int, int, int, int], generator: Generator) -> Inputs:
    """The step with noise of deviation 1e-3."""
    query, key, value = step(shape, generator)[:3]
    noise = torch.randn(shape, generator=generator, dtype=torch.float64)
    return Inputs(query, key + 1e-3 * noise, value)


def repeated_tokens(shape: tuple[int, int, int, int], generator: Generator) -> Inputs:
    """Three keys, with their values, in turn."""
    query, key, value = random(shape, generator)[:3]
    turn = torch.arange(shape[2]) % min(3, shape[2])
    return Inputs(query, key[:, :, turn], value[:, :, turn])


def repeated_start(shape: tuple[int, int, int, int], generator: Generator) -> Inputs:
    """One key, with its value, fifty times (at most half of the sequence), then random ones."""
    query, key, value = random(shape, generator)[:3]
    stretch = min(50, shape[2] // 2)
    for tensor in (key, value):
        tensor[:, :, :stretch] = tensor[:, :, :1].clone()
    return Inputs(query, key, value)


def flat_dimensions(shape: tuple[int, int, int, int], generator: Generator) -> Inputs:
    """Keys whose deviation is 1e-4 in every other dimension."""
    query, key, value = random(shape, generator)[:3]
    key[..., ::2] = 0.5 + 1e-4 * key[..., ::2]
    return Inputs(query, key, value)


def large_mean(shape: tuple[int, int, int, int], generator: Generator) -> Inputs:
    """Queries and keys of mean 300 and deviation 0.1."""
    query, key, value = random(shape, generator)[:3]
    return Inputs(300 + 0.1 * query, 300 + 0.1 * key, value)


def huge_last_key(shape: tuple[int, int, int, int], generator: Generator) -> Inputs:
    """Random keys of which the last is 1e4 in every dimension; its square overflows float16."""
    query, key, value = random(shape, generator)[:3]
    key[:, :, -1] = 1e4
    return Inputs(query, key, value)


def padded(family: Family, side: str) -> Family:
    """A family with padding on the "left" or the "right", of another length in every row."""

    def drawn(shape: tuple[int, int, int, int], generator: Generator) -> Inputs:
        query, key, value = family(shape, generator)[:3]
        batch, _, length, _ = shape
        counts = torch.tensor([length * row // (2 * batch) for row in range(1, batch + 1)])
        place = torch.arange(length) if side == "left" else length - 1 - torch.arange(length)
        return Inputs(query, key, value, (place >= counts[:, None])[:, None, None])

    return drawn


FAMILIES: dict[str, Family] = {
    "random": random,
    "constant, then N(5, 1)": constant_start,
    "step": step,
    "noisy step": noisy_step,
    "three tokens repeated": repeated_tokens,
    "one token fifty times": repeated_start,
    "nearly constant dimensions": flat_dimensions,
    "mean 300": large_mean,
    "huge last key": huge_last_key,
    "random, padded left": padded(random, "left"),
    "random, padded right": padded(random, "right"),
    "constant, padded left": padded(constant_start, "left"),
    "constant, padded right": padded(constant_start, "right"),
}
"""Every family by name."""


def draw(name: str, shape: tuple[int, int, int, int], seed: int = 0, device: str = "cpu") -> Inputs:
    """Inputs of a family, by its name in :data:`FAMILIES`, the same numbers on every device."""
    query, key, value, mask = FAMILIES[name](shape, torch.Generator().manual_seed(seed))
    mask = None if mask is None else mask.to(device)
    return Inputs(query.to(device), key.to(device), value.to(device), mask)


def representable(name: str, dtype: torch.dtype) -> bool:
    """Whether the statistics of a family's keys are numbers of the dtype: the square of 1e4 overflows float16."""
    return not (dtype == torch.float16 and name == "huge last key")
