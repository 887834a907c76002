"""Mean pooling of keys and values over windows of positions: masked, ragged, 1-D, 2-D, prefix."""

import torch
from torch import Tensor
from torch.nn.functional import pad

from primaldual.kernels.layout import Layout, ceil_div

MOST_ADDED = 8
"""Largest window whose members are added one by one."""


def pool(
    tensor: Tensor, scale: int, key_mask: Tensor | None = None, layout: Layout | None = None
) -> tuple[Tensor, Tensor | None]:
    """Mean of the attendable members of every window of ``scale`` positions (or scale x scale patches).

    A ragged tail is a shorter window; masked positions are left out; a window with no attendable
    member is masked and its mean is 0.

    Args:
        tensor: (..., N, D).
        scale: window length r in positions; 1 returns the input.
        key_mask: bool (..., 1, N), broadcastable to the leading dimensions; None = all attendable.
            Masked entries of ``tensor`` must be finite.
        layout: prefix and grid; None = a plain sequence.

    Returns:
        The pooled tensor (..., ceil(N / r), D) and its mask (..., 1, ceil(N / r)), None if none was given.

    Example:
        >>> import torch
        >>> pool(torch.tensor([[1.0], [3.0], [8.0]]), 2)[0].squeeze(-1).tolist()
        [2.0, 8.0]
    """
    if scale == 1:
        return tensor, key_mask
    member = None if key_mask is None else key_mask.transpose(-2, -1)
    prefix = 0 if layout is None else layout.prefix
    grid = None if layout is None else layout.grid
    body, members = tensor[..., prefix:, :], None if member is None else member[..., prefix:, :]
    if grid is None:
        pooled, counts = _pool_sequence(body, scale, members)
    else:
        pooled, counts = _pool_grid(body, scale, members, grid)
    if prefix:
        pooled = torch.cat([tensor[..., :prefix, :], pooled], -2)
    if member is None or counts is None:
        return pooled, None
    kept = torch.cat([member[..., :prefix, :], counts > 0], -2)
    return pooled, kept.transpose(-2, -1)


def _pool_sequence(body: Tensor, scale: int, member: Tensor | None) -> tuple[Tensor, Tensor | None]:
    length = body.shape[-2]
    if member is None and not torch.compiler.is_compiling():
        whole = length // scale * scale
        means = _means_of_whole_windows(body[..., :whole, :].unflatten(-2, (whole // scale, scale)))
        if whole < length:
            means = torch.cat([means, body[..., whole:, :].mean(-2, keepdim=True)], -2)
        return means, None
    sums, counts = _window_sums(body, member, scale)
    return sums / counts.clamp(min=1), None if member is None else counts


def _means_of_whole_windows(windows: Tensor) -> Tensor:
    """(..., W, r, D) -> (..., W, D); for few members adding them up is half the work of mean() on CPU."""
    scale = windows.shape[-2]
    if scale > MOST_ADDED:
        return windows.mean(-2)
    members = windows.unbind(-2)
    total = members[0] + members[1]
    for member in members[2:]:
        total += member
    return total.mul_(1 / scale)


def _window_sums(body: Tensor, member: Tensor | None, scale: int) -> tuple[Tensor, Tensor]:
    """Sums and member counts of every window, by zero padding to whole windows."""
    length = body.shape[-2]
    windows = ceil_div(length, scale)
    if member is None:
        member = body.new_ones((length, 1), dtype=torch.bool)
    else:
        body = torch.where(member, body, 0.0)
    extra = windows * scale - length
    sums = pad(body, (0, 0, 0, extra)).unflatten(-2, (windows, scale)).sum(-2)
    counts = pad(member.to(body.dtype), (0, 0, 0, extra)).unflatten(-2, (windows, scale)).sum(-2)
    return sums, counts


def _pool_grid(
    body: Tensor, scale: int, member: Tensor | None, grid: tuple[int, int]
) -> tuple[Tensor, Tensor | None]:
    rows, columns = grid
    masked = member is not None
    if member is None:
        member = body.new_ones((rows * columns, 1), dtype=torch.bool)
    else:
        body = torch.where(member, body, 0.0)

    def patch_sums(flat: Tensor) -> Tensor:
        image = pad(flat.unflatten(-2, grid), (0, 0, 0, -columns % scale, 0, -rows % scale))
        patches = image.unflatten(-3, (-1, scale)).unflatten(-2, (-1, scale))
        return patches.sum((-4, -2)).flatten(-3, -2)

    counts = patch_sums(member.to(body.dtype))
    return patch_sums(body) / counts.clamp(min=1), counts if masked else None


def window_index(length: int, scale: int, layout: Layout, device: torch.device | None = None) -> Tensor:
    """Long (N,): the number of the window that each position belongs to, prefix tokens alone.

    Example:
        >>> window_index(5, 2, Layout(prefix=1)).tolist()
        [0, 1, 1, 2, 2]
    """
    position = torch.arange(length, device=device)
    if scale == 1:
        return position
    body = position - layout.prefix
    if layout.grid is None:
        window = body // scale
    else:
        columns = layout.grid[1]
        patches_per_row = ceil_div(columns, scale)
        window = body // columns // scale * patches_per_row + body % columns // scale
    return torch.where(body < 0, position, layout.prefix + window)


def prefix_means(tensor: Tensor, scale: int, key_mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """For every position, the mean of the attendable members of its own window up to itself.

    Args:
        tensor: (..., N, D); masked entries must be finite.
        scale: window length r.
        key_mask: bool (..., 1, N) or None.

    Returns:
        Means (..., N, D) and bool (..., N, 1): whether any member was attendable.
    """
    length = tensor.shape[-2]
    windows = ceil_div(length, scale)
    extra = windows * scale - length
    if key_mask is None:
        member = tensor.new_ones((1,) * (tensor.dim() - 2) + (length, 1), dtype=torch.bool)
    else:
        member = key_mask.transpose(-2, -1)
        tensor = torch.where(member, tensor, 0.0)

    def running(values: Tensor) -> Tensor:
        folded = pad(values, (0, 0, 0, extra)).unflatten(-2, (windows, scale))
        sums = folded.cumsum(-2).flatten(-3, -2)
        if torch.compiler.is_compiling():  # a slice is contiguous for some lengths only, and would be guarded
            return sums.index_select(-2, torch.arange(length, device=sums.device))
        return sums[..., :length, :]

    counts = running(member.to(tensor.dtype))
    return running(tensor) / counts.clamp(min=1), counts > 0
