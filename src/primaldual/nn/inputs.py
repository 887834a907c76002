"""The inputs and masks of torch.nn.MultiheadAttention, brought to the library's conventions."""

import torch
from torch import Tensor

from primaldual.errors import ShapeError
from primaldual.kernels.masks import Attendable, causal_mask, from_torch_mask, keep_attendable
from primaldual.kernels.modes import in_graph

QueryKeyValue = tuple[Tensor, Tensor, Tensor]


def batch_first(inputs: QueryKeyValue, widths: tuple[int, int, int], is_batch_first: bool) -> QueryKeyValue:
    """Query, key and value as (batch, length, features); tensors that were one object stay one.

    Raises:
        ShapeError: widths, batch sizes or lengths that do not fit.
    """
    dimensions = inputs[0].dim()
    for name, tensor, width in zip(("query", "key", "value"), inputs, widths, strict=True):
        if tensor.dim() != dimensions or dimensions not in (2, 3) or tensor.shape[-1] != width:
            raise ShapeError(f"{name} must be ([batch,] length, {width}); got shape {tuple(tensor.shape)}")
    query, key, value = inputs
    turned = _turn(query, is_batch_first)
    turned_key = turned if key is query else _turn(key, is_batch_first)
    turned_value = turned_key if value is key else turned if value is query else _turn(value, is_batch_first)
    query, key, value = turned, turned_key, turned_value
    if not query.shape[0] == key.shape[0] == value.shape[0] or key.shape[1] != value.shape[1]:
        raise ShapeError(
            "query, key and value must share the batch, key and value the length; "
            f"got (batch, length) {tuple(query.shape[:2])}, {tuple(key.shape[:2])}, {tuple(value.shape[:2])}"
        )
    return query, key, value


def _turn(tensor: Tensor, is_batch_first: bool) -> Tensor:
    """One input as (batch, length, features)."""
    if tensor.dim() == 2:
        return tensor.unsqueeze(0)
    return tensor if is_batch_first else tensor.transpose(0, 1)


def read_masks(
    key_padding_mask: Tensor | None,
    attn_mask: Tensor | None,
    is_causal: bool,
    size: tuple[int, int, int, int],
) -> Attendable:
    """Masks in torch's polarity as what may be attended; ``size`` is (batch, heads, Nq, Nk).

    Raises:
        ShapeError: a mask of another shape.
        ArgumentError: a float mask that holds biases.
    """
    batch, heads, query_length, key_length = size
    keys = pairs = None
    if key_padding_mask is not None:
        keys = from_torch_mask(key_padding_mask, "key_padding_mask")
        keys = keys.unsqueeze(0) if keys.dim() == 1 else keys
        if keys.shape != (batch, key_length):
            raise ShapeError(
                f"key_padding_mask must be {(batch, key_length)}; got {tuple(key_padding_mask.shape)}"
            )
        keys = keys[:, None, None, :]
    if attn_mask is not None:
        pairs = from_torch_mask(attn_mask, "attn_mask")
        shapes = ((query_length, key_length), (batch * heads, query_length, key_length))
        if tuple(pairs.shape) not in shapes:
            raise ShapeError(f"attn_mask must be {shapes[0]} or {shapes[1]}; got {tuple(attn_mask.shape)}")
        pairs = pairs[None, None] if pairs.dim() == 2 else pairs.unflatten(0, (batch, heads))
        if is_causal and _implied_by_causal(pairs):
            pairs = None
    return Attendable(keys, pairs, is_causal)


def _implied_by_causal(pairs: Tensor) -> bool:
    """Whether a mask is the causal one itself, as callers pass it beside ``is_causal``."""
    if in_graph():
        return False
    return bool((pairs == causal_mask(pairs.shape[2], pairs.shape[3], pairs.device)).all())


def clean(inputs: QueryKeyValue, attendable: Attendable) -> QueryKeyValue:
    """Zero padded keys and values, and non-finite numbers in padded queries of self-attention.

    NaN in the padding then reaches neither outputs nor the gradients of the projections.
    """
    query, key, value = inputs
    if attendable.keys is None:
        return inputs
    mask = attendable.keys[:, 0]
    if query is key:
        query = torch.where(mask.transpose(-2, -1), query, query.nan_to_num(0.0, 0.0, 0.0))
    cleaned = keep_attendable(key, mask)
    return query, cleaned, cleaned if value is key else keep_attendable(value, mask)
