"""The reference: training set -> kernel matrix -> normalise -> weighted sum, written out, never SDPA."""

import torch
from torch import Tensor
from torch.nn.functional import pad


def training_set(
    key: Tensor, value: Tensor, allowed: Tensor, membership: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """The training pairs of every query: the attendable pairs, averaged over windows if there are any.

    Args:
        key: (batch, heads, N, D).
        value: (batch, heads, N, Dv).
        allowed: bool broadcastable to (batch, heads, Nq or 1, N).
        membership: bool (..., Nt, N), which positions each pair is the mean of; None = every position is a pair.

    Returns:
        keys (batch, heads, Nq or 1, Nt, D), values likewise, valid bool (batch, heads, Nq or 1, Nt), and the
        shares (batch, heads, Nq or 1, Nt, N) of the positions in each pair (None without windows).
    """
    used = allowed.any(-2).unsqueeze(-1)
    key = torch.where(used, key, torch.zeros_like(key))
    value = torch.where(used, value, torch.zeros_like(value))
    if membership is None:
        return key.unsqueeze(2), value.unsqueeze(2), allowed, None
    members = (allowed.unsqueeze(-2) & membership).to(key.dtype)
    counts = members.sum(-1, keepdim=True)
    shares = members / counts.clamp(min=1)
    return shares @ key.unsqueeze(2), shares @ value.unsqueeze(2), counts.squeeze(-1) > 0, shares


def statistics(keys: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance over the valid training keys of each query.

    Args:
        keys: (batch, heads, Nq or 1, Nt, D).
        valid: bool (batch, heads, Nq or 1, Nt).

    Returns:
        mean and variance (batch, heads, Nq or 1, D), 0 over an empty set.
    """
    member = valid.unsqueeze(-1).to(keys.dtype)
    count = member.sum(-2, keepdim=True).clamp(min=1)
    mean = (member * keys).sum(-2, keepdim=True) / count
    variance = (member * (keys - mean) ** 2).sum(-2, keepdim=True) / count
    return mean.squeeze(-2), variance.squeeze(-2)


def convolution(
    inputs: Tensor, weight: Tensor, grid: tuple[int, int] | None, prefix: int, left_padded: bool
) -> Tensor:
    """y_j = sum_t w_t * x_(j+t), tap by tap: zeros outside, ``prefix`` tokens in front left as they are.

    Args:
        inputs: (batch, heads, Nq or 1, N, D).
        weight: (heads, D, rows, columns) of the filter of each head and channel.
        grid: (rows, columns) of the image that the positions after the prefix are; None = one row.
        prefix: tokens in front, seen by no other.
        left_padded: the last column of the filter belongs to t = 0, not the middle one.
    """
    if inputs.shape[-2] <= prefix:
        return inputs
    rows, columns = weight.shape[-2:]
    before = columns - 1 if left_padded else columns // 2
    image = inputs[..., prefix:, :].unflatten(-2, grid or (1, -1))
    height, width = image.shape[-3:-1]
    padded = pad(image, (0, 0, before, columns - 1 - before, rows // 2, rows // 2))
    total = torch.zeros_like(image)
    for down in range(rows):
        for right in range(columns):
            tap = weight[:, None, None, None, :, down, right].to(inputs.dtype)
            total = total + tap * padded[..., down : down + height, right : right + width, :]
    return torch.cat([inputs[..., :prefix, :], total.flatten(-3, -2)], -2)


def per_query(query: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
    """Arrange queries and their training keys as stacks of matrices for a kernel function.

    Args:
        query: (batch, heads, Nq, D).
        keys: (batch, heads, Nq or 1, Nt, D).

    Returns:
        Stacks (..., M, D) and (..., Nt, D) whose kernel matrices flatten to (batch, heads, Nq, Nt).
    """
    if keys.shape[2] == 1:
        return query.unsqueeze(2), keys
    return query.unsqueeze(3), keys


def weighted_sum(weights: Tensor, values: Tensor) -> Tensor:
    """sum_j A_ij v_j, with values that may differ by query.

    Args:
        weights: (batch, heads, Nq, Nt).
        values: (batch, heads, Nq or 1, Nt, Dv).
    """
    if values.shape[2] == 1:
        return weights @ values.squeeze(2)
    return torch.einsum("bhqt,bhqtd->bhqd", weights, values)


def salient_membership(
    scores: Tensor, allowed: Tensor, scale: int, share: float, min_length: int = 0
) -> Tensor:
    """Which pair each key belongs to, when the keys of the largest scores are pairs by themselves.

    Args:
        scores: (batch, heads, N).
        allowed: bool, broadcastable to (batch, heads, Nq or 1, N).
        scale: r; n allowed keys make ceil(n / r) pairs.
        share: of the pairs that are one key.
        min_length: a query with fewer allowed keys has each of them for a pair.

    Returns:
        Bool (batch, heads, Nq or 1, Nt, N), Nt = ceil(N / r), or N with a min_length.
    """
    length = scores.shape[-1]
    mine, other = scores[:, :, None, :, None], scores[:, :, None, None, :]
    place = torch.arange(length, device=scores.device)
    ahead = (other > mine) | ((other == mine) & (place < place[:, None]))
    rank = (ahead & allowed.unsqueeze(-2)).sum(-1)
    count = allowed.sum(-1, keepdim=True)
    pairs = -(-count // scale)
    alone = torch.minimum((share * pairs).floor().long(), pairs - 1).clamp(min=0)
    salient = allowed & (rank < alone)
    others = allowed & ~salient
    before = torch.tril(others.unsqueeze(-2).expand(*others.shape, length), -1).sum(-1)
    window = alone + before * (pairs - alone) // (count - alone).clamp(min=1)
    pair = torch.where(count < min_length, place, torch.where(salient, rank, window))
    number = length if min_length else -(-length // scale)
    return pair.unsqueeze(-2) == torch.arange(number, device=scores.device)[:, None]
