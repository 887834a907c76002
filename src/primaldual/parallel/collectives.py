"""Collectives of unequal pieces that can be differentiated: each is linear, and its backward is its adjoint."""

from collections.abc import Sequence
from functools import reduce
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist

Shape = tuple[int, ...]


def gather(tensors: Sequence[Tensor], shapes: Sequence[Sequence[Shape]], group: Any) -> list[list[Tensor]]:
    """The tensors of every process, by one call for all of them: the backward adds up what all processes send back.

    Their shapes may differ from process to process; the shorter ones are padded to the longest.

    Args:
        tensors: this process's; other types than the widest are converted for the way.
        shapes: of every process, those of its tensors.
        group: the process group.

    Returns:
        For every process its tensors, in the types of this process's.
    """
    dtype = reduce(torch.promote_types, (tensor.dtype for tensor in tensors))
    sizes = [[prod(shape) for shape in own] for own in shapes]
    flat = torch.cat([tensor.to(dtype).reshape(-1) for tensor in tensors])
    gathered: tuple[Tensor, ...] = _Gather.apply(flat, tuple(map(sum, sizes)), group)
    return [
        [
            piece.view(shape).to(tensor.dtype)
            for piece, shape, tensor in zip(row.split(counts), own, tensors, strict=True)
        ]
        for row, counts, own in zip(gathered, sizes, shapes, strict=True)
    ]


def add_up(tensors: Sequence[Tensor], group: Any) -> list[Tensor]:
    """The sums of tensors of one type over all processes, by one call; the backward adds up the gradients likewise."""
    flat: Tensor = _AddUp.apply(torch.cat([tensor.reshape(-1) for tensor in tensors]), group)
    pieces = flat.split([tensor.numel() for tensor in tensors])
    return [piece.view(tensor.shape) for piece, tensor in zip(pieces, tensors, strict=True)]


class _Gather(torch.autograd.Function):
    """A vector of each process -> the vectors of all."""

    @staticmethod
    def forward(ctx: Any, vector: Tensor, sizes: Sequence[int], group: Any) -> tuple[Tensor, ...]:
        ctx.sizes, ctx.group = sizes, group
        ctx.rank = dist.get_rank(group)
        longest = max(sizes)
        padded = vector if len(vector) == longest else vector.new_zeros(longest)
        if padded is not vector:
            padded[: len(vector)] = vector
        rows = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(rows, padded, group=group)
        return tuple(row[:size] for row, size in zip(rows, sizes, strict=True))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        gathered: Tensor = _Scatter.apply(ctx.sizes, ctx.rank, ctx.group, *gradients)
        return gathered, None, None


class _Scatter(torch.autograd.Function):
    """A vector for each process -> the sum of those for this one."""

    @staticmethod
    def forward(ctx: Any, sizes: Sequence[int], rank: int, group: Any, *vectors: Tensor) -> Tensor:
        ctx.sizes, ctx.group = sizes, group
        rows = vectors[0].new_zeros(len(sizes), max(sizes))
        for row, vector in zip(rows, vectors, strict=True):
            row[: len(vector)] = vector
        total = torch.empty_like(rows[0])
        dist.reduce_scatter(total, list(rows.unbind(0)), group=group)
        return total[: sizes[rank]]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, None, *_Gather.apply(gradient, ctx.sizes, ctx.group)


class _AddUp(torch.autograd.Function):
    """A vector of each process -> their sum."""

    @staticmethod
    def forward(ctx: Any, vector: Tensor, group: Any) -> Tensor:
        ctx.group = group
        total = vector.clone()
        dist.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        total: Tensor = _AddUp.apply(gradient, ctx.group)
        return total, None


def tied(own: Tensor, gathered: Tensor) -> Tensor:
    """The first tensor, whose backward waits for that of the other: a process that needs no key of others answers too."""
    out: Tensor = _Tied.apply(own, gathered)
    return out


class _Tied(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, own: Tensor, gathered: Tensor) -> Tensor:
        ctx.like = gathered.shape, gathered.dtype
        return own.view_as(own)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        shape, dtype = ctx.like
        return gradient, gradient.new_zeros(shape, dtype=dtype)


def gather_numbers(numbers: Sequence[int], device: torch.device, group: Any) -> list[list[int]]:
    """As many integers of every process."""
    own = torch.tensor(numbers, dtype=torch.int64, device=device)
    rows = [torch.empty_like(own) for _ in range(dist.get_world_size(group))]
    dist.all_gather(rows, own, group=group)
    return [row.tolist() for row in rows]


def gather_masks(mask: Tensor, lengths: Sequence[int], group: Any) -> Tensor:
    """Masks (batch or 1, heads or 1, 1, n) of every process, joined along the length."""
    shapes = [[(*mask.shape[:-1], length)] for length in lengths]
    with torch.no_grad():
        return torch.cat([parts[0] for parts in gather([mask.to(torch.uint8)], shapes, group)], -1).bool()
