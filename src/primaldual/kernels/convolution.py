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
    prefix, length = layout.prefix, query.shape[-2]
    if length <= prefix:
        return query
    rows, columns = weight.shape[-2:]
    middle = columns - 1 if left_padded else columns // 2
    height, width = layout.grid or (1, length - prefix)
    body = torch.arange(length - prefix, device=query.device)
    tap = torch.arange(rows * columns, device=query.device)[:, None]
    down, right = tap // columns - rows // 2, tap % columns - middle
    row, column = body // width + down, body % width + right
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    source = prefix + torch.where(inside, body + down * width + right, body)
    own = (down == 0) & (right == 0)
    seen = inside & (own | _attended(attendable, prefix + body, source))
    neighbours = torch.where(seen.unsqueeze(-1), query[..., source, :], 0.0)
    filters = weight.to(accumulation_dtype(query.dtype)).flatten(2)
    out = torch.einsum("bhtnd,hdt->bhnd", neighbours.to(filters.dtype), filters).to(query.dtype)
    return torch.cat([query[..., :prefix, :], out], -2) if prefix else out


def _attended(attendable: Attendable, position: Tensor, source: Tensor) -> Tensor:
    """Bool, broadcastable to (batch, heads, taps, n): whether the query at each position may attend its source."""
    seen = source <= position if attendable.is_causal else torch.ones_like(source, dtype=torch.bool)
    if attendable.keys is not None:
        seen = seen & attendable.keys[:, :, 0, source]
    if attendable.pairs is not None:
        row = position if attendable.pairs.shape[2] > 1 else torch.zeros_like(position)
        seen = seen & attendable.pairs[:, :, row, source]
    return seen
