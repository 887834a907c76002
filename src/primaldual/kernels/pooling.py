"""Mean pooling of keys and values over windows of positions: masked, ragged, 1-D, 2-D, prefix."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

from primaldual.kernels.layout import SEQUENCE, Layout, ceil_div
from primaldual.kernels.modes import in_graph

MOST_ADDED = 4
"""Largest window whose members are added one by one."""

FEW_NUMBERS = 2**15
"""Fewest numbers for which that pays with more than two members."""


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
        layout: prefix, grid and suffix; None = a plain sequence.

    Returns:
        The pooled tensor (..., ceil(N / r), D) and its mask (..., 1, ceil(N / r)), None if none was given.

    Example:
        >>> import torch
        >>> pool(torch.tensor([[1.0], [3.0], [8.0]]), 2)[0].squeeze(-1).tolist()
        [2.0, 8.0]
    """
    if scale == 1:
        return tensor, key_mask
    layout = layout or SEQUENCE
    if key_mask is None and layout == SEQUENCE and not in_graph():
        return _means_of_windows(tensor, scale), None
    parts = cut(tensor, key_mask, layout)
    if layout.grid is None:
        pooled, counts = _pool_sequence(parts.body, scale, parts.members)
    else:
        pooled, counts = _pool_grid(parts.body, scale, parts.members, layout.grid)
    pooled = parts.join(pooled)
    if counts is None or parts.members is None:
        return pooled, None
    return pooled, parts.join_masks(counts > 0).transpose(-2, -1)


class Parts(NamedTuple):
    """A sequence cut into the tokens in front, those to be pooled, and the last attendable ones.

    Attributes:
        front: (..., prefix, D).
        body: (..., N', D).
        members: bool (..., N', 1), which of the body are to be pooled; None = all.
        last: (..., suffix, D).
        front_mask: bool (..., prefix, 1), None without a mask.
        last_mask: bool (..., suffix, 1), None without a mask.
    """

    front: Tensor
    body: Tensor
    members: Tensor | None
    last: Tensor
    front_mask: Tensor | None
    last_mask: Tensor | None

    def join(self, pooled: Tensor) -> Tensor:
        """The pools between the lone tokens."""
        lone = [part for part in (self.front, self.last) if part.shape[-2]]
        if not lone:
            return pooled
        return torch.cat([self.front.to(pooled.dtype), pooled, self.last.to(pooled.dtype)], -2)

    def join_masks(self, kept: Tensor) -> Tensor:
        """The masks of the pools between those of the lone tokens: (..., Nt, 1)."""
        assert self.front_mask is not None
        assert self.last_mask is not None
        return torch.cat([self.front_mask, kept, self.last_mask], -2)


def cut(tensor: Tensor, key_mask: Tensor | None, layout: Layout) -> Parts:
    """Cut a sequence (..., N, D) under a mask (..., 1, N) as its layout says."""
    member = None if key_mask is None else key_mask.transpose(-2, -1)
    if member is None:
        # The backward of one split writes the gradient once; that of every slice would fill one with zeros.
        lone = min(layout.prefix, tensor.shape[-2])
        rest = max(tensor.shape[-2] - lone - layout.suffix, 0)
        front, body, last = tensor.split([lone, rest, tensor.shape[-2] - lone - rest], -2)
        return Parts(front, body, None, last, None, None)
    front, body = tensor[..., : layout.prefix, :], tensor[..., layout.prefix :, :]
    members = member[..., layout.prefix :, :]
    front_mask, last_mask = member[..., : layout.prefix, :], members[..., :0, :]
    last = body[..., :0, :]
    if layout.suffix and body.shape[-2]:
        index, last_mask = _last_members(members, layout.suffix)
        shape = torch.broadcast_shapes(index.shape[:-2], body.shape[:-2])
        last = body.expand(*shape, -1, -1).gather(-2, index.expand(*shape, -1, body.shape[-1]))
        last = torch.where(last_mask, last, 0.0)
        members = members & (_from_end(members) > layout.suffix)
    return Parts(front, body, members, last, front_mask, last_mask)


def _from_end(members: Tensor) -> Tensor:
    """How many members there are from each position to the end: (..., N, 1)."""
    return members.flip(-2).cumsum(-2).flip(-2)


def _last_members(members: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Positions of the last members in their order, (..., count or N, 1), and whether there is one at all."""
    places = torch.arange(members.shape[-2], device=members.device).unsqueeze(-1)
    found = torch.where(members, places, -1).topk(min(count, members.shape[-2]), -2).values.flip(-2)
    return found.clamp(min=0), found >= 0


def _pool_sequence(body: Tensor, scale: int, member: Tensor | None) -> tuple[Tensor, Tensor | None]:
    if member is None and not in_graph():
        return _means_of_windows(body, scale), None
    sums, counts = _window_sums(body, member, scale)
    return sums / counts.clamp(min=1), None if member is None else counts


def _means_of_windows(tensor: Tensor, scale: int) -> Tensor:
    """(..., N, D) -> (..., ceil(N / r), D); for few members adding them up is half the work of mean() on CPU."""
    *leading, length, width = tensor.shape
    count, rest = divmod(length, scale)
    body = tensor[..., : length - rest, :] if rest else tensor
    windows = body.view(*leading, count, scale, width)
    if scale == 2 or (scale <= MOST_ADDED and body.numel() >= FEW_NUMBERS):
        members = windows.unbind(-2)
        means = members[0] + members[1]
        for member in members[2:]:
            means += member
        means *= 1 / scale
    else:
        means = windows.mean(-2)
    return torch.cat([means, tensor[..., length - rest :, :].mean(-2, keepdim=True)], -2) if rest else means


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
    eager = not in_graph()
    if member is None and eager:
        return _over_patches(body, scale, grid), None
    if member is None:
        member = body.new_ones((rows * columns, 1), dtype=torch.bool)
    else:
        body = torch.where(member, body, 0.0)

    def patch_sums(flat: Tensor) -> Tensor:
        if eager:
            return _over_patches(flat, scale, grid, divisor=1)
        image = pad(flat.unflatten(-2, grid), (0, 0, 0, -columns % scale, 0, -rows % scale))
        patches = image.unflatten(-3, (-1, scale)).unflatten(-2, (-1, scale))
        return patches.sum((-4, -2)).flatten(-3, -2)

    counts = patch_sums(member.to(body.dtype))
    return patch_sums(body) / counts.clamp(min=1), counts if masked else None


def _over_patches(flat: Tensor, scale: int, grid: tuple[int, int], divisor: int | None = None) -> Tensor:
    """Means over patches, or sums by a divisor: (..., N, D) -> (..., W, D).

    On CPU this takes a tenth of the time of a sum over the two dimensions of a patch.
    """
    leading, width = flat.shape[:-2], flat.shape[-1]
    images = flat.reshape(leading.numel(), *grid, width).permute(0, 3, 1, 2)
    pooled = avg_pool2d(images, scale, ceil_mode=True, count_include_pad=False, divisor_override=divisor)
    return pooled.permute(0, 2, 3, 1).reshape(*leading, pooled.shape[2] * pooled.shape[3], width)


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
        if in_graph():  # a slice is contiguous for some lengths only, and would be guarded
            return sums.index_select(-2, torch.arange(length, device=sums.device))
        return sums[..., :length, :]

    counts = running(member.to(tensor.dtype))
    return running(tensor) / counts.clamp(min=1), counts > 0
