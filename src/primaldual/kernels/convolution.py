"""Depthwise convolution of keys and of queries along a sequence or over an image."""

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from primaldual.kernels.layout import Layout
from primaldual.kernels.masks import Attendable
from primaldual.kernels.statistics import accumulation_dtype


def convolve(tensor: Tensor, weight: Tensor, layout: Layout, left_padded: bool = False) -> Tensor:
    """y_j = sum_t w_t * x_(j+t), zeros outside, one filter per head and channel; prefix tokens stay as they are.

    Args:
        tensor: (batch, heads, N, D).
        weight: (heads, D, rows, columns), both odd; the middle one belongs to t = 0. One row on a sequence.
        layout: where the positions lie; prefix tokens are seen by no other.
        left_padded: the last column belongs to t = 0 instead, so that no later position is seen.

    Returns:
        (batch, heads, N, D), float32 or wider.

    Example:
        >>> ones = torch.ones(1, 1, 1, 3)
        >>> convolve(torch.tensor([1.0, 2.0, 4.0]).view(1, 1, 3, 1), ones, Layout()).flatten().tolist()
        [3.0, 7.0, 6.0]
    """
    tensor = tensor.to(accumulation_dtype(tensor.dtype))
    prefix, length = layout.prefix, tensor.shape[-2]
    if length <= prefix:
        return tensor
    body = tensor[..., prefix:, :] if prefix else tensor
    # Projected keys lie as (batch, N, heads, D) in memory: channels last, which convolutions read without a copy.
    image = body.transpose(1, 2).flatten(2)
    image = image.unsqueeze(1) if layout.grid is None else image.unflatten(1, layout.grid)
    rows, columns = weight.shape[-2:]
    filters = weight.to(tensor.dtype).flatten(0, 1).unsqueeze(1)
    if left_padded:
        image = pad(image, (0, 0, columns - 1, 0))
    padding = rows // 2, 0 if left_padded else columns // 2
    out = conv2d(image.permute(0, 3, 1, 2), filters, padding=padding, groups=filters.shape[0])
    out = out.permute(0, 2, 3, 1)
    out = out.squeeze(1) if layout.grid is None else out.flatten(1, 2)
    out = out.unflatten(-1, (-1, tensor.shape[-1])).transpose(1, 2)
    return torch.cat([tensor[..., :prefix, :], out], -2) if prefix else out


def convolve_queries(
    query: Tensor, weight: Tensor, layout: Layout, left_padded: bool, attendable: Attendable
) -> Tensor:
    """The same for queries, each of which sees itself and the neighbours whose keys it may attend.

    Args:
        query: (batch, heads, N, D).
        weight: as in :func:`convolve`.
        layout: where the queries lie.
        left_padded: as in :func:`convolve`.
        attendable: which of the N keys, standing where the queries do, each query may attend.
    """
    if attendable.pairs is not None:
        return _convolve_by_pairs(query, weight, layout, left_padded, attendable, attendable.pairs)
    own = _own_tap(weight, left_padded)
    filters = weight
    if attendable.is_causal:
        later = torch.arange(weight.flatten(2).shape[-1], device=weight.device) > own
        filters = weight.flatten(2).masked_fill(later, 0.0).view_as(weight)
    if attendable.keys is None:
        return convolve(query, filters, layout, left_padded).to(query.dtype)
    visible = attendable.keys.transpose(-2, -1)
    out = convolve(torch.where(visible, query, 0.0), filters, layout, left_padded)
    itself = torch.where(visible, 0.0, query)
    lone, body = itself[..., : layout.prefix, :], itself[..., layout.prefix :, :]
    factor = weight.flatten(2)[:, None, :, own].to(out.dtype)
    return (out + torch.cat([lone, body * factor], -2)).to(query.dtype)


def _own_tap(weight: Tensor, left_padded: bool) -> int:
    """The number of the tap that belongs to t = 0, counted row by row; later ones see later positions."""
    rows, columns = weight.shape[-2:]
    return rows // 2 * columns + (columns - 1 if left_padded else columns // 2)


def _convolve_by_pairs(
    query: Tensor, weight: Tensor, layout: Layout, left_padded: bool, attendable: Attendable, pairs: Tensor
) -> Tensor:
    """Queries that see neighbours one by one, by gathering them."""
    prefix, length = layout.prefix, query.shape[-2]
    if length <= prefix:
        return query
    rows, columns = weight.shape[-2:]
    height, width = layout.grid or (1, length - prefix)
    body = torch.arange(length - prefix, device=query.device)
    tap = torch.arange(rows * columns, device=query.device)[:, None]
    own = _own_tap(weight, left_padded)
    row = body // width + tap // columns - own // columns
    column = body % width + tap % columns - own % columns
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    source = prefix + torch.where(inside, row * width + column, body)
    seen = pairs.expand(-1, -1, length, -1)[:, :, prefix + body, source]
    if attendable.keys is not None:
        seen = seen & attendable.keys[:, :, 0, source]
    if attendable.is_causal:
        seen = seen & (source <= prefix + body)
    seen = inside & ((tap == own) | seen)
    neighbours = torch.where(seen.unsqueeze(-1), query[..., source, :], 0.0)
    filters = weight.to(accumulation_dtype(query.dtype)).flatten(2)
    out = torch.einsum("bhtnd,hdt->bhnd", neighbours.to(filters.dtype), filters).to(query.dtype)
    return torch.cat([query[..., :prefix, :], out], -2) if prefix else out
