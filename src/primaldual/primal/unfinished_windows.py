"""Windows of pooled positions that are not complete for a query, and whose members a union has as single keys anyway."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor
from torch.nn.functional import pad

from primaldual.kernels.layout import ceil_div
from primaldual.kernels.masks import Attendable


def window_ends(front: int, scale: int, length: int, device: torch.device) -> Tensor:
    """The last position of every pair, (Nt,): ``front`` lone positions, then windows, the last one maybe cut off.

    Example:
        >>> window_ends(1, 3, 6, torch.device("cpu")).tolist()
        [0, 3, 6]
    """
    front = min(front, length)
    windows = torch.arange(ceil_div(length - front, scale), device=device)
    return torch.cat([torch.arange(front, device=device), front - 1 + (windows + 1) * scale])


def last_attended(allowed: Tensor) -> Tensor:
    """The last position that each query may attend, -1 for none: (..., N) -> (..., 1)."""
    position = torch.arange(allowed.shape[-1], device=allowed.device)
    return pad(torch.where(allowed, position, -1), (1, 0), value=-1).amax(-1, keepdim=True)


def covered(allowed: Tensor, ends: Tensor, singly: Sequence[Tensor]) -> Tensor:
    """Bool (batch or 1, heads or 1, Nq or 1, Nt): unfinished windows of which other sets hold every member singly.

    Args:
        allowed: bool (batch or 1, heads or 1, Nq or 1, N), the members that a query may attend.
        ends: the last position of each window, (Nt,).
        singly: what each set of single keys holds, like ``allowed``.
    """
    position, last = torch.arange(allowed.shape[-1], device=allowed.device), last_attended(allowed)
    held = reduce(torch.logical_or, singly, torch.zeros_like(allowed))
    missing = (allowed & ~held).to(torch.float32)
    windows = torch.searchsorted(ends, position)
    sums = missing.new_zeros(*missing.shape[:-1], ends.shape[0]).index_add(-1, windows, missing)
    return (ends > last) & (sums == 0)


def covered_within(
    reach: int, attendable: Attendable, ends: Tensor, query_length: int, key_length: int
) -> Tensor:
    """The same from positions, with the windows that reach behind a causal query: (batch or 1, heads or 1, Nq or 1, Nt).

    Args:
        reach: the single keys are those at most so far from the query.
        attendable: masks without pairs.
        ends: the last position of each window, (Nt,).
        query_length: Nq.
        key_length: Nk.
    """
    device, keys = ends.device, attendable.keys
    row = torch.arange(query_length, device=device)[:, None] + key_length - query_length
    place = torch.arange(key_length, device=device)
    present = torch.ones(1, 1, 1, key_length, dtype=torch.bool, device=device) if keys is None else keys
    lasts = pad(torch.where(present, place, -1).cummax(-1).values, (1, 0), value=-1)
    last = lasts[..., (row[:, 0] + 1).clamp(min=0)] if attendable.is_causal else lasts[..., -1:]
    last = last.transpose(-2, -1)
    unfinished = ends > last
    if reach < max(query_length, key_length):  # more queries than keys start before the first one
        windows = torch.searchsorted(ends, place).expand(present.shape)
        firsts = place.new_full((*present.shape[:-1], ends.shape[0]), key_length)
        firsts = firsts.scatter_reduce(-1, windows, torch.where(present, place, key_length), "amin")
        unfinished = unfinished & (firsts >= row - reach) & (last <= row + reach)
    return unfinished | (ends > row) if attendable.is_causal else unfinished
