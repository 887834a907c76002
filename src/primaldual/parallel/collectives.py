"""Collectives of unequal pieces that can be differentiated: each is linear, and its backward is its adjoint."""

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist

Shape = tuple[int, ...]


def gather(tensors: Sequence[Tensor], shapes: Sequence[Sequence[Shape]], group: Any) -> list[list[Tensor]]:
    """The tensors of every process: the backward adds up what all processes send back.

    Those of one type travel in one message. Their shapes may differ from process to process; the shorter messages are
    padded to the longest.

    Args:
        tensors: this process's.
        shapes: of every process, those of its tensors.
        group: the process group.

    Returns:
        For every process its tensors.
    """
    found: list[dict[int, Tensor]] = [{} for _ in shapes]
    alike = [
        [number for number, tensor in enumerate(tensors) if tensor.dtype == dtype]
        for dtype in dict.fromkeys(tensor.dtype for tensor in tensors)
    ]
    sizes = [[[prod(own[number]) for number in numbers] for own in shapes] for numbers in alike]
    flat = [torch.cat([tensors[number].reshape(-1) for number in numbers]) for numbers in alike]
    totals = tuple(tuple(map(sum, of_message)) for of_message in sizes)
    rows = iter(_Gather.apply(totals, group, *flat))
    for numbers, of_message in zip(alike, sizes, strict=True):
        for mine, own, counts in zip(found, shapes, of_message, strict=True):
            pieces = next(rows).split(counts)
            mine |= {number: piece.view(own[number]) for number, piece in zip(numbers, pieces, strict=True)}
    return [[mine[number] for number in range(len(tensors))] for mine in found]


def add_up(tensors: Sequence[Tensor], group: Any) -> list[Tensor]:
    """The sums of tensors of one type over all processes, by one call; the backward adds up the gradients likewise."""
    flat: Tensor = _AddUp.apply(torch.cat([tensor.reshape(-1) for tensor in tensors]), group)
    pieces = flat.split([tensor.numel() for tensor in tensors])
    return [piece.view(tensor.shape) for piece, tensor in zip(pieces, tensors, strict=True)]


Sizes = Sequence[Sequence[int]]
"""Of every message how long it is on each process."""


class _Gather(torch.autograd.Function):
    """Messages of each process -> those of all, one message after the other.

    They are one node, so that every process answers them in the same order in the backward too.
    """

    @staticmethod
    def forward(ctx: Any, sizes: Sizes, group: Any, *messages: Tensor) -> tuple[Tensor, ...]:
        ctx.sizes, ctx.group = sizes, group
        ctx.rank = dist.get_rank(group)
        gathered: list[Tensor] = []
        for lengths, message in zip(sizes, messages, strict=True):
            longest = max(lengths)
            padded = message if len(message) == longest else message.new_zeros(longest)
            if padded is not message:
                padded[: len(message)] = message
            rows = [torch.empty_like(padded) for _ in lengths]
            dist.all_gather(rows, padded, group=group)
            gathered += [row[:length] for row, length in zip(rows, lengths, strict=True)]
        return tuple(gathered)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, *_Scatter.apply(ctx.sizes, ctx.rank, ctx.group, *gradients)


class _Scatter(torch.autograd.Function):
    """Of each message a vector for each process -> the sums of those for this one."""

    @staticmethod
    def forward(ctx: Any, sizes: Sizes, rank: int, group: Any, *vectors: Tensor) -> tuple[Tensor, ...]:
        ctx.sizes, ctx.group = sizes, group
        totals, given = [], iter(vectors)
        for lengths in sizes:
            own = [next(given) for _ in lengths]
            rows = own[0].new_zeros(len(lengths), max(lengths))
            for row, vector in zip(rows, own, strict=True):
                row[: len(vector)] = vector
            total = torch.empty_like(rows[0])
            dist.reduce_scatter(total, list(rows.unbind(0)), group=group)
            totals.append(total[: lengths[rank]])
        return tuple(totals)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, None, *_Gather.apply(ctx.sizes, ctx.group, *gradients)


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
