"""Mean and biased variance of keys: shared by all queries, or query by query.

No variance is a difference of large numbers: keys are centred first. Where statistics differ by query, the
centre is a vector that the queries may see, see :func:`row_blocks`. Half-precision keys are accumulated in float32.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from primaldual.kernels.close_keys import summed_anew
from primaldual.kernels.modes import in_graph


class KeyStatistics(NamedTuple):
    """Statistics of the training keys that each query sees.

    Attributes:
        mean: (batch, heads, 1 or Nq, D); 0 over an empty set.
        variance: biased, of the same shape.
        seen: keys that each query sees, a number or broadcastable to (batch, heads, 1 or Nq, 1); None = unknown.
        shift: the constant vector that was taken off the keys beside, (batch, heads, 1, D); None = unknown.
    """

    mean: Tensor
    variance: Tensor
    seen: Tensor | int | None = None
    shift: Tensor | None = None


GROWTH = 16
"""Keys that the last query of a block of rows may see, for each key that all of them see."""

EARLY = 64
"""Queries of the first block of rows, at least. Deviations of few keys may be tiny, and gradients that cancel are then
left with noise of the kernels, magnified: these rows are computed in float64."""


def row_blocks(query_length: int, key_length: int, scale: int = 1) -> list[slice]:
    """Blocks of causal queries whose keys may be centred by one vector without loss, the last block first.

    Let a block start where m keys are visible and end where n are, n <= GROWTH m. The mean c of the m keys is then
    near the mean mu_i of every query of the block, measured in its deviations s_i: the m keys are a share p = m / n_i
    of its keys, so s_i^2 >= p / (1 - p) (c - mu_i)^2, and |c - mu_i| < 4 s_i. Scores by keys less c therefore lose
    less than a digit, whatever the keys are. The first block, which starts at 0, is for float64. A graph, which
    serves all lengths, has none.

    Args:
        query_length: Nq; the last query stands at the last key.
        key_length: Nk.
        scale: queries of one window of so many positions stay together.

    Example:
        >>> row_blocks(600, 600)
        [slice(64, 600, None), slice(0, 64, None)]
    """
    if in_graph():
        return []
    stop, before, blocks = query_length, key_length - query_length, []
    early = -(-EARLY // scale)
    while stop > 0:
        windows = -(-(before + stop) // scale)
        shared = max(-(-windows // GROWTH), early) * scale if windows > early else before
        blocks.append(slice(max(shared - before, 0), stop))
        stop = blocks[-1].start
    return blocks


def seen_centre(key: Tensor, key_mask: Tensor | None, count: int) -> Tensor:
    """The mean of the attendable ones of the first ``count`` keys, or else the first attendable key; no gradient.

    Args:
        key: (batch, heads, N, D), finite where masked.
        key_mask: bool broadcastable to (batch, heads, 1, N), or None.
        count: keys that every query sees, 1 or more.

    Returns:
        (batch, heads, 1, D), float32 or wider.
    """
    key = key.detach()
    early = key[..., :count, :].to(accumulation_dtype(key.dtype))
    if key_mask is None:
        return mean_of_rows(early)
    member = key_mask.transpose(-2, -1)
    inside = member[..., :count, :]
    seen = inside.sum(-2, keepdim=True)
    mean = torch.where(inside, early, 0.0).sum(-2, keepdim=True) / seen.clamp(min=1)
    place = member.to(torch.uint8).argmax(-2, keepdim=True).expand(*key.shape[:2], 1, key.shape[3])
    return torch.where(seen > 0, mean, key.gather(-2, place).to(early.dtype))


def accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    """float32 for half-precision inputs, the input's own type otherwise."""
    return torch.float32 if dtype in (torch.bfloat16, torch.float16) else dtype


def widest(device: torch.device) -> torch.dtype:
    """float64, or float32 on a device that has no float64 (mps)."""
    return torch.float32 if device.type == "mps" else torch.float64


def mean_of_rows(tensor: Tensor) -> Tensor:
    """(..., N, D) -> (..., 1, D), 0 for no rows; faster than mean() on CPU."""
    sums = tensor.sum(-2, keepdim=True)
    return sums / tensor.shape[-2] if tensor.shape[-2] else sums


def centre(key: Tensor, key_mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The mean of the attendable keys and the keys less that mean, 0 where masked.

    The subtracted mean carries no gradient: attention weights do not change when one vector is
    subtracted from all keys, and the variance does not either.

    Args:
        key: (batch, heads, N, D), finite where masked.
        key_mask: bool broadcastable to (batch, heads, 1, N), or None.

    Returns:
        mean (batch, heads, 1, D) and centred keys (batch, heads, N, D), float32 or wider.
    """
    key = key.to(accumulation_dtype(key.dtype))
    if key_mask is None:
        mean = mean_of_rows(key)
        return mean, key - mean.detach()
    member = key_mask.transpose(-2, -1)
    counts = member.sum(-2, keepdim=True).clamp(min=1)
    mean = torch.where(member, key, 0.0).sum(-2, keepdim=True) / counts
    return mean, torch.where(member, key - mean.detach(), 0.0)


def shared_statistics(mean: Tensor, centred: Tensor, key_mask: Tensor | None = None) -> KeyStatistics:
    """mu and sigma^2 = mean_j (k_j - mu)^2 over the attendable keys, from :func:`centre`.

    Example:
        >>> shared_statistics(*centre(torch.tensor([[[[1.0], [3.0]]]]))).variance.item()
        1.0
    """
    squares = centred * centred  # half the time of square() on CPU
    if key_mask is None:
        return KeyStatistics(mean, mean_of_rows(squares), centred.shape[-2])
    counts = key_mask.sum(-1, keepdim=True)
    return KeyStatistics(mean, squares.sum(-2, keepdim=True) / counts.clamp(min=1), counts)


def prefix_statistics(mean: Tensor, centred: Tensor, key_mask: Tensor | None = None) -> KeyStatistics:
    """For every position i the statistics of the attendable keys 0..i, from keys less a constant vector ``mean``."""
    if key_mask is None:
        counts = torch.arange(1, centred.shape[-2] + 1, device=centred.device, dtype=centred.dtype)[:, None]
    else:
        counts = key_mask.transpose(-2, -1).cumsum(-2)
    running = centred.cumsum(-2) / counts.clamp(min=1)
    squares = (centred * centred).cumsum(-2) / counts.clamp(min=1)
    variance = (squares - running.square()).clamp(min=0)
    return KeyStatistics(_uncentre(running, mean, counts), variance, counts)


def pairwise_statistics(mean: Tensor, centred: Tensor, allowed: Tensor) -> KeyStatistics:
    """Statistics of the keys that each query may attend, by two products with the mask.

    Args:
        mean: from :func:`centre`.
        centred: from :func:`centre`.
        allowed: bool broadcastable to (batch, heads, Nq, N).
    """
    member = allowed.to(centred.dtype)
    counts = member.sum(-1, keepdim=True)
    running = member @ centred / counts.clamp(min=1)
    squares = member @ (centred * centred) / counts.clamp(min=1)
    variance = (squares - running.square()).clamp(min=0)
    variance = summed_anew(variance, running, member, centred, counts)
    return KeyStatistics(_uncentre(running, mean, counts), variance, counts)


def partial_window_statistics(
    mean: Tensor, pools: Tensor, kept: Tensor, partial: Tensor, present: Tensor, scale: int
) -> KeyStatistics:
    """Statistics of the pooled keys of every prefix: the complete windows before, and the own partial mean.

    The two sets are merged as (count, mean, squared deviations), which needs no large difference.

    Args:
        mean: the constant vector that was subtracted from pools and partial, (batch, heads, 1, D).
        pools: centred window means (batch, heads, W, D).
        kept: bool (batch or 1, heads or 1, W, 1): windows with an attendable member.
        partial: centred own-window means for every position (batch, heads, N, D).
        present: bool (batch or 1, heads or 1, N, 1): positions whose own window has a member so far.
        scale: window length r.
    """
    length, windows = partial.shape[-2], pools.shape[-2]
    rows = torch.arange(length, device=partial.device) if in_graph() else None
    each = torch.arange(windows, device=partial.device) if in_graph() else None

    def before(values: Tensor) -> Tensor:  # not cumsum() - values, which later values would round
        sums = pad(values, (0, 0, 1, 0)).cumsum(-2)
        return (sums[..., :-1, :] if each is None else sums.index_select(-2, each)).unsqueeze(-2)

    def folded(values: Tensor) -> Tensor:
        return pad(values, (0, 0, 0, windows * scale - length)).unflatten(-2, (windows, scale))

    def unfolded(
        values: Tensor,
    ) -> Tensor:  # in a graph, a slice would be guarded for the lengths where it is a view
        flat = values.flatten(-3, -2)
        return flat[..., :length, :] if rows is None else flat.index_select(-2, rows)

    weight, shift = kept.to(pools.dtype), mean.detach().unsqueeze(-2)
    count, here = before(weight), folded(present)
    former = before(pools * weight) / count.clamp(min=1)
    deviation = (before(pools.square() * weight) - count * former.square()).clamp(min=0)
    former = torch.where(count > 0, former, -shift)
    total = count + here
    share = here / total.clamp(min=1)
    step = folded(partial) - former
    running = torch.addcmul(former + shift, step, share)
    variance = torch.addcmul(deviation, step * step, share * count) / total.clamp(min=1)
    return KeyStatistics(unfolded(running), unfolded(variance), unfolded(total))


def merged(parts: Sequence[KeyStatistics]) -> KeyStatistics:
    """The statistics of keys of several sets together, from those of each; ``seen`` of each must be known.

    Example:
        >>> one = KeyStatistics(torch.tensor(1.0), torch.tensor(0.0), torch.tensor(1))
        >>> merged([one, KeyStatistics(torch.tensor(4.0), torch.tensor(0.0), torch.tensor(2))]).variance
        tensor(2.)
    """
    counts = [_count(part) for part in parts]
    total = sum(counts[1:], counts[0])
    shares = [count / total.clamp(min=1) for count in counts]
    mean = sum(share * part.mean for share, part in zip(shares, parts, strict=True))
    variance = sum(
        share * (part.variance + (part.mean - mean).square())
        for share, part in zip(shares, parts, strict=True)
    )
    assert isinstance(mean, Tensor)
    assert isinstance(variance, Tensor)
    return KeyStatistics(mean, variance, total)


def _count(part: KeyStatistics) -> Tensor:
    assert part.seen is not None
    return part.mean.new_ones(()) * part.seen  # a length of a graph stays a symbol


def _uncentre(running: Tensor, mean: Tensor, counts: Tensor) -> Tensor:
    """Add the shift back, keeping 0 over empty sets."""
    return torch.where(counts > 0, running + mean.detach(), 0.0)


FAR = 16.0
"""Squared distance of a mean from 0, in variances, up to which it costs differences of keys less than a digit."""


def apart(found: KeyStatistics, floor: float, members: int) -> Tensor:
    """Bool (R,): queries whose keys are few, or lie far from 0 in their own deviations, in some head of some sequence.

    Args:
        found: statistics of every query's pairs, :attr:`KeyStatistics.seen` a tensor.
        floor: what is added to variances.
        members: most keys of a pair.
    """
    assert isinstance(found.seen, Tensor)
    far = found.mean.square() > FAR * (found.variance + floor)
    few = found.seen * members < EARLY
    return (far | (few & (found.seen > 0))).movedim(2, 0).flatten(1).any(1)


def statistics_of_every_query(keys: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of the keys of every query, (batch, heads, R, D).

    Where all queries have the same keys under different masks these are two products of the masks, less a common centre.

    Args:
        keys: (batch, heads, R or 1, Nt, D), in float64 where queries have the same.
        valid: bool (batch or 1, heads or 1, R or 1, Nt), which of them count.
    """
    member = valid.to(keys.dtype)
    counts = member.sum(-1, keepdim=True)
    share = member / counts.clamp(min=1)
    if keys.shape[2] > 1:
        share = share.unsqueeze(-2)
        mean = share @ keys
        return mean.squeeze(-2), (share @ (keys - mean).square()).squeeze(-2)
    keys, seen = keys.squeeze(2), member.amax(-2, keepdim=True)
    centre = ((seen / seen.sum(-1, keepdim=True).clamp(min=1)) @ keys).detach()
    shifted = keys - centre
    mean = share @ shifted
    variance = (share @ shifted.square() - mean.square()).clamp(min=0)
    return mean + centre, summed_anew(variance, mean, member, shifted, counts)
