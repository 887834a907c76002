"""The formulas typed out in PyTorch as the paper states them: the softmax matrix is formed.

A peer, and a check: nothing here uses the library.
"""

from __future__ import annotations

import math
import re

import torch
from torch import Tensor
from torch.nn.functional import pad

from primaldual.errors import UnsupportedError

EPS = 1e-5


def softmax_formula(
    query: Tensor, key: Tensor, value: Tensor, valid: Tensor | None = None, is_causal: bool = False
) -> Tensor:
    """softmax(q k^T / sqrt(D)) v, ``valid`` bool (batch, 1, 1, Nk)."""
    scores = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])
    if valid is not None:
        scores = scores.masked_fill(~valid, -math.inf)
    if is_causal:
        future = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        scores = scores.masked_fill(future, -math.inf)
    return torch.softmax(scores, -1) @ value


def bn_formula(query: Tensor, key: Tensor, value: Tensor, valid: Tensor | None = None) -> Tensor:
    """Softmax attention of (q - mu) / s and (k - mu) / s, with mu and s^2 over the keys."""
    if valid is None:
        mean = key.mean(-2, keepdim=True)
        variance = (key - mean).square().mean(-2, keepdim=True)
    else:
        member = valid.transpose(-2, -1).to(key.dtype)
        count = member.sum(-2, keepdim=True)
        mean = (key * member).sum(-2, keepdim=True) / count
        variance = ((key - mean).square() * member).sum(-2, keepdim=True) / count
    deviation = (variance + EPS).sqrt()
    return softmax_formula((query - mean) / deviation, (key - mean) / deviation, value, valid)


def sh_formula(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scales: tuple[int, ...],
    normalized: bool,
    valid: Tensor | None = None,
) -> Tensor:
    """Head h attends means of keys and values over windows of r_h positions."""
    outputs = []
    attend = bn_formula if normalized else softmax_formula
    for head, scale in enumerate(scales):
        member = None if valid is None else valid.transpose(-2, -1)
        keys, seen = pooled(key[:, head : head + 1], scale, member)
        values, _ = pooled(value[:, head : head + 1], scale, member)
        some = None if valid is None else seen.transpose(-2, -1)
        outputs.append(attend(query[:, head : head + 1], keys, values, some))
    return torch.cat(outputs, 1)


def pooled(tensor: Tensor, scale: int, member: Tensor | None) -> tuple[Tensor, Tensor]:
    """Means over windows of ``scale`` rows, of the members among them, and which windows have any.

    Example:
        >>> pooled(torch.tensor([1.0, 3.0, 8.0]).reshape(1, 1, 3, 1), 2, None)[0].flatten().tolist()
        [2.0, 8.0]
    """
    length = tensor.shape[-2]
    if member is None:
        member = torch.ones(1, 1, length, 1, dtype=torch.bool)
    missing = -length % scale
    padded, member = (pad(part, (0, 0, 0, missing)) for part in (tensor, member))
    windows = padded.unflatten(-2, (-1, scale))
    inside = member.unflatten(-2, (-1, scale)).to(tensor.dtype)
    count = inside.sum(-2)
    return (windows * inside).sum(-2) / count.clamp(min=1), count > 0


def cumulative_sums(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Causal linear attention on features: sums over the keys so far, formed for every position."""
    state = (key.unsqueeze(-1) * value.unsqueeze(-2)).cumsum(2)
    out = (query.unsqueeze(-2) @ state).squeeze(-2)
    return out / (query * key.cumsum(2)).sum(-1, keepdim=True)


def formula(
    spec: str, query: Tensor, key: Tensor, value: Tensor, valid: Tensor | None, is_causal: bool
) -> Tensor:
    """The attention that a spec names, typed out.

    Raises:
        UnsupportedError: a spec that is not typed out here.
    """
    if spec == "softmax":
        return softmax_formula(query, key, value, valid, is_causal)
    if is_causal:
        raise UnsupportedError(f"the formula of {spec} is not typed out for a causal mask")
    if spec == "bn":
        return bn_formula(query, key, value, valid)
    if match := re.fullmatch(r"(bn\+)?sh\(([\d,]+)\)", spec):
        scales = tuple(map(int, match[2].split(",")))
        return sh_formula(query, key, value, scales, bool(match[1]), valid)
    raise UnsupportedError(f"the formula of {spec} is not typed out")
