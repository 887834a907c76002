"""One mask convention, True = may attend, and its conversions from other ones."""

from dataclasses import dataclass

import torch
from torch import Tensor

from primaldual.errors import ArgumentError, ShapeError


@dataclass(frozen=True)
class Attendable:
    """Which keys each query may attend: the conjunction of three conditions.

    Attributes:
        keys: bool (batch or 1, heads or 1, 1, Nk): the same for every query; None = all.
        pairs: bool (batch or 1, heads or 1, Nq, Nk): query by query; None = all.
        is_causal: query i stands at position ``i + Nk - Nq`` and attends no later key.
    """

    keys: Tensor | None = None
    pairs: Tensor | None = None
    is_causal: bool = False

    def select(self, heads: slice | list[int]) -> "Attendable":
        """The same conditions for some of the heads."""

        def pick(mask: Tensor | None) -> Tensor | None:
            return mask if mask is None or mask.shape[1] == 1 else mask[:, heads]

        return Attendable(pick(self.keys), pick(self.pairs), self.is_causal)

    def of_sequences(self, batch: slice) -> "Attendable":
        """The same conditions for some of the sequences."""

        def pick(mask: Tensor | None) -> Tensor | None:
            return mask if mask is None or mask.shape[0] == 1 else mask[batch]

        return Attendable(pick(self.keys), pick(self.pairs), self.is_causal)

    def between(self, begin: int, end: int) -> "Attendable":
        """The same conditions for some of the keys."""
        if self.keys is None or (begin, end) == (0, self.keys.shape[3]):
            return self
        return Attendable(self.keys[..., begin:end], self.pairs, self.is_causal)

    def begins(self, batch: int) -> list[int]:
        """Of every sequence the first key that some head may attend, 0 where there is none."""
        if self.keys is None:
            return [0] * batch
        found: list[int] = self.keys.any(1).flatten(1).to(torch.uint8).argmax(-1).tolist()
        return found * (batch // len(found))

    def rows(self, rows: slice, query_length: int, key_length: int, device: torch.device) -> Tensor:
        """The rows of :meth:`matrix` of some queries."""
        pairs = self.pairs if self.pairs is None or self.pairs.shape[2] == 1 else self.pairs[:, :, rows]
        length = key_length - query_length + rows.stop
        merged = Attendable(self.keys, pairs).matrix(rows.stop - rows.start, key_length, device)
        if not self.is_causal:
            return merged
        positions = torch.arange(length - (rows.stop - rows.start), length, device=device)
        return merged & (torch.arange(key_length, device=device) <= positions[:, None])

    def matrix(self, query_length: int, key_length: int, device: torch.device) -> Tensor:
        """All conditions as one bool tensor, broadcastable to (batch, heads, Nq, Nk).

        Its query dimension is 1 when no condition depends on the query.
        """
        merged = torch.ones(1, 1, 1, key_length, dtype=torch.bool, device=device)
        if self.keys is not None:
            merged = merged & self.keys
        if self.pairs is not None:
            merged = merged & self.pairs
        if self.is_causal:
            merged = merged & causal_mask(query_length, key_length, device)
        return merged


def causal_mask(query_length: int, key_length: int, device: torch.device | None = None) -> Tensor:
    """Bool (Nq, Nk): key j may be attended by query i when ``j <= i + Nk - Nq`` (bottom-right aligned).

    Example:
        >>> causal_mask(2, 3).int().tolist()
        [[1, 1, 0], [1, 1, 1]]
    """
    query_positions = torch.arange(query_length, device=device) + (key_length - query_length)
    return torch.arange(key_length, device=device) <= query_positions[:, None]


def band_mask(query_length: int, key_length: int, radius: int, device: torch.device | None = None) -> Tensor:
    """Bool (Nq, Nk): keys at most ``radius`` positions from the query, bottom-right aligned."""
    query_positions = torch.arange(query_length, device=device) + (key_length - query_length)
    return (torch.arange(key_length, device=device) - query_positions[:, None]).abs() <= radius


def read_mask(
    mask: Tensor | None, is_causal: bool, batch: int, heads: int, query_length: int, key_length: int
) -> Attendable:
    """Sort a user's bool mask (True = may attend) into key-only and pairwise conditions.

    Args:
        mask: broadcastable to (batch, heads, Nq, Nk), or None.
        is_causal: whether queries attend no later key; both conditions hold together.
        batch: batch size.
        heads: number of query heads.
        query_length: Nq.
        key_length: Nk.

    Raises:
        ArgumentError: the mask is not boolean.
        ShapeError: the mask does not broadcast.
    """
    if mask is None:
        return Attendable(is_causal=is_causal)
    if mask.dtype != torch.bool:
        raise ArgumentError(f"mask must be boolean with True = may attend; got dtype {mask.dtype}")
    shape = (batch, heads, query_length, key_length)
    full = mask[(None,) * (4 - mask.dim())] if mask.dim() < 4 else mask
    if full.dim() != 4 or any(
        given not in (1, wanted) for given, wanted in zip(full.shape, shape, strict=True)
    ):
        raise ShapeError(f"mask must broadcast to (batch, heads, Nq, Nk) = {shape}; got {tuple(mask.shape)}")
    if full.shape[3] != key_length:
        full = full.expand(-1, -1, -1, key_length)
    if full.shape[2] == 1:
        return Attendable(keys=full, is_causal=is_causal)
    return Attendable(pairs=full, is_causal=is_causal)


def from_torch_mask(mask: Tensor, name: str) -> Tensor:
    """nn.MultiheadAttention's polarity (bool True = blocked, or additive 0 / -inf) to ours.

    Args:
        mask: bool, or float holding only 0 (attend) and minus infinity or the dtype's minimum (blocked).
        name: the argument's name, for the error.

    Raises:
        ArgumentError: a float mask holds other numbers (a bias), which is not supported.
    """
    if mask.dtype == torch.bool:
        return ~mask
    if not mask.is_floating_point():
        raise ArgumentError(f"{name} must be boolean or additive float; got dtype {mask.dtype}")
    attend = mask == 0
    if not torch.compiler.is_compiling():
        blocked = mask <= torch.finfo(mask.dtype).min
        if not bool((attend | blocked).all()):
            raise ArgumentError(
                f"{name} holds additive biases; accepted are boolean masks or floats of 0 and -inf only"
            )
    return attend


def keep_attendable(tensor: Tensor, key_mask: Tensor | None) -> Tensor:
    """Zero the positions that nobody may attend, so that NaN or inf there cannot leak.

    Args:
        tensor: (batch, heads, Nk, D).
        key_mask: bool broadcastable to (batch, heads, 1, Nk), or None for no change.
    """
    if key_mask is None:
        return tensor
    return torch.where(key_mask.transpose(-2, -1), tensor, 0.0)
