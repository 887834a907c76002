"""Sequences of a batch, and tokens of them, as callers of a state name them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from primaldual.errors import ArgumentError


def cropped_lengths(length: int | Sequence[int] | Tensor, lengths: list[int]) -> list[int]:
    """Tokens of each sequence that stay.

    Raises:
        ArgumentError: fewer than 0, more than there are, or of another number of sequences.
    """
    given = torch.as_tensor(length)
    whole = given.dtype in (torch.int64, torch.int32) and given.shape in ((), (len(lengths),))
    wanted = given.expand(len(lengths)).tolist() if whole else []
    if not whole or not all(0 <= new <= old for new, old in zip(wanted, lengths, strict=True)):
        raise ArgumentError(
            f"length must be a number of tokens from 0 to those that each sequence has, {lengths}; got {length}"
        )
    return wanted


def row_numbers(rows: Sequence[int] | Tensor, batch: int) -> list[int]:
    """Numbers of some sequences of a batch.

    Raises:
        ArgumentError: numbers outside the batch, or none.
    """
    index = torch.as_tensor(rows)
    if index.dtype == torch.bool and index.shape == (batch,):
        index = index.nonzero().squeeze(-1)
    whole = index.dim() == 1 and index.numel() and index.dtype in (torch.int64, torch.int32)
    if not whole or not 0 <= int(index.min()) <= int(index.max()) < batch:
        raise ArgumentError(
            f"rows must be numbers from 0 to {batch - 1}, or a bool tensor ({batch},) with a True; got {rows}"
        )
    return index.tolist()
