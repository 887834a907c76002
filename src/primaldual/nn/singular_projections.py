"""Kernel singular value decomposition as a layer: data-dependent projections of queries and keys, and its objective."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from primaldual.errors import ArgumentError, ShapeError
from primaldual.kernels.statistics import accumulation_dtype
from primaldual.nn.projection import split_heads

SAMPLED_PER_RANK = 10
"""Tokens that the projections are made of, per rank."""


class Projected(NamedTuple):
    """What every token is projected to.

    Attributes:
        left: e, (batch, heads, N, rank), 0 at padding.
        right: r, likewise.
        scales: Lambda, (heads, rank).
        objective: J, (batch, heads), float32 or wider.
    """

    left: Tensor
    right: Tensor
    scales: Tensor
    objective: Tensor


class SingularProjections(nn.Module):
    r"""Project queries and keys on the singular vectors of an asymmetric kernel matrix, in O(N).

        e_i = (X'^T W_e)^T phi(q_i),   r_j = (X'^T W_r)^T phi(k_j),   phi(x) = x / |x|

        J = 1/2 mean_i |Lambda e_i|^2 + 1/2 mean_j |Lambda r_j|^2 - tr(W_e^T W_r)

    X' are n = min(N, 10 rank) tokens of the sequence, evenly spaced, of which every head reads its share of the
    features. With K_ij = (X' phi(q_i)) . (X' phi(k_j)) and K = U S V^T, J is stationary, and then 0, where the columns
    of W_e and W_r are X' phi(k)^T V and X' phi(q)^T U times any number, and Lambda^2 = N / S.

    Causal, q and k are replaced by their running means and X' by the first n tokens, of which token i reads those up to
    itself: no later token changes an earlier output. A sequence shorter than n uses the first rows of W alone.

    Args:
        embed_dim: width of the tokens.
        num_heads: heads; must divide embed_dim.
        rank: singular vectors of each head, at most embed_dim / num_heads, the rank that K can have.
        bias: whether q and k have a bias.
        device: of the parameters.
        dtype: of the parameters.

    Raises:
        ArgumentError: sizes that do not divide, or a rank that K cannot have.

    Reference: Chen, Tao, Tonin, Suykens, "Primal-Attention: Self-attention through Asymmetric Kernel SVD in Primal
        Representation", NeurIPS 2023, arXiv 2305.19798.

    Example:
        >>> found = SingularProjections(16, 2, rank=3)(torch.randn(4, 10, 16))
        >>> found.left.shape, found.objective.shape
        (torch.Size([4, 2, 10, 3]), torch.Size([4, 2]))
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        rank: int,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if num_heads < 1 or embed_dim < 1 or embed_dim % num_heads:
            raise ArgumentError(
                f"num_heads must divide embed_dim; got embed_dim {embed_dim} and num_heads {num_heads}"
            )
        self.head_dim = embed_dim // num_heads
        if not 1 <= rank <= self.head_dim:
            raise ArgumentError(
                f"rank must be from 1 to embed_dim / num_heads = {self.head_dim}, the largest rank of the kernel; got {rank}"
            )
        self.rank = rank
        size = (num_heads, SAMPLED_PER_RANK * rank, rank)
        self.q_proj = nn.Linear(embed_dim, embed_dim, bias, device, dtype)
        self.k_proj = nn.Linear(embed_dim, embed_dim, bias, device, dtype)
        self.left = nn.Parameter(torch.empty(size, device=device, dtype=dtype))
        self.right = nn.Parameter(torch.empty(size, device=device, dtype=dtype))
        self.scale_logits = nn.Parameter(torch.empty(num_heads, rank, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Xavier for q and k, orthonormal columns for W_e and W_r, 1/2 for Lambda."""
        for linear in (self.q_proj, self.k_proj):
            nn.init.xavier_uniform_(linear.weight)
            if linear.bias is not None:
                nn.init.zeros_(linear.bias)
        for weights in (self.left, self.right):
            wide = torch.empty_like(weights, dtype=accumulation_dtype(weights.dtype))
            for head in wide.unbind(0):
                nn.init.orthogonal_(head)  # which knows no half precision
            with torch.no_grad():
                weights.copy_(wide)
        nn.init.zeros_(self.scale_logits)

    @property
    def scales(self) -> Tensor:
        """Lambda in [0, 1], (heads, rank)."""
        return self.scale_logits.sigmoid()

    def forward(self, tokens: Tensor, valid: Tensor | None = None, is_causal: bool = False) -> Projected:
        """Project.

        Args:
            tokens: (batch, N, embed_dim), finite.
            valid: bool (batch, N), True = a token, False = padding; None = all.
            is_causal: see above.

        Raises:
            ShapeError: fewer tokens than the rank.
        """
        if tokens.shape[1] < self.rank:
            raise ShapeError(
                f"tokens must be as many as the rank, {self.rank}, or more; got {tokens.shape[1]}: lower the rank"
            )
        query, key = (split_heads(linear(tokens), self.head_dim) for linear in (self.q_proj, self.k_proj))
        if is_causal:
            query, key = running_mean(query, valid), running_mean(key, valid)
        most = self.left.shape[1]
        places, used = _sampled_places(valid, tokens.shape[:2], most, is_causal, tokens.device)
        sample = tokens.gather(1, places.unsqueeze(-1).expand(-1, -1, tokens.shape[2]))
        sample = split_heads(sample * used.unsqueeze(-1), self.head_dim)
        visible = None
        if is_causal:
            positions = torch.arange(tokens.shape[1], device=tokens.device)
            visible = (places.unsqueeze(1) <= positions.unsqueeze(1)).unsqueeze(1)
        weights = self.left[:, : sample.shape[2]], self.right[:, : sample.shape[2]]
        left, right = (
            _project(unit_length(inputs), sample, weight, visible)
            for inputs, weight in zip((query, key), weights, strict=True)
        )
        if valid is not None:
            left, right = (torch.where(valid[:, None, :, None], side, 0.0) for side in (left, right))
        scales = self.scales
        count = tokens.shape[1] if valid is None else valid.sum(1, keepdim=True).clamp(min=1)
        wide = accumulation_dtype(left.dtype)  # squares of half-precision projections overflow
        scaled = scales.unsqueeze(1) * torch.stack([left, right]).to(wide)
        energy = scaled.square().sum((0, 3, 4)) / (2 * count)
        overlap = used.to(wide) @ (weights[0].to(wide) * weights[1]).sum(2).mT
        return Projected(left, right, scales, energy - overlap)


def unit_length(inputs: Tensor) -> Tensor:
    """x / |x|, and 0 with gradient 0 where x = 0.

    Example:
        >>> unit_length(torch.tensor([[3.0, 4.0], [0.0, 0.0]])).tolist()
        [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    largest = inputs.detach().abs().amax(-1, keepdim=True)
    zero = largest == 0
    # Any constant factor leaves x / |x| and its derivatives as they are, and this one the squares in range.
    inputs = inputs / largest.masked_fill(zero, 1.0)
    squares = inputs.square().sum(-1, keepdim=True)
    return inputs * torch.where(zero, 0.0, squares.masked_fill(zero, 1.0).rsqrt())


def running_mean(inputs: Tensor, valid: Tensor | None) -> Tensor:
    """Mean of the tokens up to each one; (batch, heads, N, D) with ``valid`` (batch, N)."""
    wide = accumulation_dtype(inputs.dtype)
    if valid is None:
        sums = inputs.cumsum(2, dtype=wide)
        count = torch.arange(1, inputs.shape[2] + 1, device=inputs.device).unsqueeze(-1)
    else:
        mask = valid[:, None, :, None]
        sums = torch.where(mask, inputs, 0.0).cumsum(2, dtype=wide)
        count = mask.cumsum(2).clamp(min=1)
    return (sums / count).to(inputs.dtype)


def _project(features: Tensor, sample: Tensor, weights: Tensor, visible: Tensor | None) -> Tensor:
    """phi X'^T W, (batch, heads, N, rank), of the visible tokens of X'."""
    if visible is None:
        return features @ (sample.mT @ weights)
    return torch.where(visible, features @ sample.mT, 0.0) @ weights


def _sampled_places(
    valid: Tensor | None, size: torch.Size, most: int, first: bool, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Positions of the tokens in X', (batch, n), and which of them there are.

    Either the first of all tokens, or evenly spaced ones; padding is skipped and does not advance them.
    """
    batch, length = size
    numbers = torch.arange(min(length, most), device=device)
    if valid is None:
        places = numbers if first else numbers * length // len(numbers)
        return places.expand(batch, -1), torch.ones(batch, len(numbers), dtype=torch.bool, device=device)
    counts = valid.sum(1, keepdim=True)
    taken = counts.clamp(min=1, max=len(numbers))
    ranks = numbers.expand(batch, -1) if first else numbers * counts // taken
    order = (~valid).to(torch.uint8).argsort(dim=1, stable=True)
    return order.gather(1, ranks.clamp(max=length - 1)), numbers < counts
