"""What a user gives, checked and brought into one convention."""

from __future__ import annotations

from torch import Tensor

from primaldual.errors import ArgumentError
from primaldual.kernels.heads import for_query_heads
from primaldual.kernels.masks import Attendable, keep_attendable, read_mask
from primaldual.primal.checks import check_shapes
from primaldual.primal.sources import TensorSource


def read(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, is_causal: bool, dropout_p: float
) -> tuple[TensorSource, Attendable]:
    """Keys and values with zeros where nobody attends, and which keys each query may attend.

    Raises:
        ShapeError: tensors or mask do not fit together.
        ArgumentError: a mask that is not boolean, or dropout_p outside [0, 1).
    """
    check_shapes(query, key, value)
    if not 0 <= dropout_p < 1:
        raise ArgumentError(f"dropout_p must be at least 0 and below 1; got {dropout_p}")
    attendable = read_mask(mask, is_causal, query.shape[0], query.shape[1], query.shape[2], key.shape[2])
    if mask is not None:
        key, value = zero_unattended(key, value, attendable)
    return TensorSource(key, value, query.shape[1]), attendable


def zero_unattended(key: Tensor, value: Tensor, attendable: Attendable) -> tuple[Tensor, Tensor]:
    """Keys and values with zeros where nobody attends, one key head per query head if masks differ by head."""
    used = attended_keys(attendable)
    if used is None:
        return key, value
    key, value = for_query_heads(key, used.shape[1]), for_query_heads(value, used.shape[1])
    return keep_attendable(key, used), keep_attendable(value, used)


def attended_keys(attendable: Attendable) -> Tensor | None:
    """Bool (batch or 1, heads or 1, 1, Nk): the keys that a mask leaves to some query; None = all."""
    used = attendable.keys
    if attendable.pairs is not None:
        attended = attendable.pairs.any(-2, keepdim=True)
        used = attended if used is None else used & attended
    return used
