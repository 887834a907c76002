"""Positive random features of the exponential kernel."""

from __future__ import annotations

import math
from typing import Self

import torch
from torch import Tensor

from primaldual.kernels.arguments import whole
from primaldual.primal.feature_maps import FeatureMap

MOST_FEATURES = 2**16


class RandomFeatures(FeatureMap):
    """Phi(x) = exp(w_i . z - |z|^2 / 2) / sqrt(M), z = x / D^(1/4), w_i ~ N(0, I), orthogonal in blocks.

    Positive random features: E[Phi(x) . Phi(y)] = exp(x . y / sqrt(D)).
    Source: Choromanski et al., "Rethinking Attention with Performers", ICLR 2021.

    Args:
        num_features: M, from 1 to 65536.
        seed: the directions w_i follow from it and from D alone; the state_dict holds them once bound.

    Raises:
        ArgumentError: num_features or seed out of range.

    Example:
        >>> x, y = torch.randn(2, 1, 4, generator=torch.Generator().manual_seed(0)).unbind(0)
        >>> found = RandomFeatures(4096).kernel(x, y)
        >>> bool((found / (x @ y.T / 2).exp() - 1).abs() < 0.05)
        True
    """

    name = "random"
    summary = "positive random features of the exponential kernel"
    cost = "O(N) for long sequences"
    examples = ("random(16)",)
    positive_semidefinite = True

    def __init__(self, num_features: int = 64, *, seed: int = 0) -> None:
        super().__init__()
        self.num_features = whole("num_features", num_features, 1, MOST_FEATURES)
        self.seed = whole("seed", seed, -(2**63), 2**63 - 1)
        self.directions: Tensor
        self.register_buffer("directions", None)

    def arguments(self) -> tuple[object, ...]:
        return (self.num_features,)

    def bind(self, heads: int, head_dim: int) -> Self:
        del heads
        self.directions = _orthogonal_gaussian(self.num_features, head_dim, self.seed)
        return self

    def kernel(self, query: Tensor, key: Tensor) -> Tensor:
        directions = self._directions(query)
        total = 0.0
        quarter_root = query.shape[-1] ** 0.25
        for direction in directions.unbind(0):
            left = (query @ direction / quarter_root - query.square().sum(-1) / (2 * quarter_root**2)).exp()
            right = (key @ direction / quarter_root - key.square().sum(-1) / (2 * quarter_root**2)).exp()
            total = total + left.unsqueeze(-1) * right.unsqueeze(-2)
        return torch.as_tensor(total) / self.num_features

    def features(self, inputs: Tensor) -> Tensor:
        # In units of log 2, for torch's exp2 takes half the time of its exp.
        unit, quarter_root = math.log(2), inputs.shape[-1] ** 0.25
        exponent = inputs @ (self._directions(inputs) / (unit * quarter_root)).transpose(0, 1)
        lowered = inputs.square().sum(-1, keepdim=True) / (2 * unit * quarter_root**2)
        return exponent.sub_(lowered + math.log2(self.num_features) / 2).exp2_()

    def feature_count(self, head_dim: int) -> int:
        del head_dim
        return self.num_features

    def operations(self, head_dim: int) -> int:
        return 2 * self.num_features * head_dim

    def keep_heads(self, members: list[int], heads: int) -> None:
        """All heads share the directions."""

    def _directions(self, inputs: Tensor) -> Tensor:
        if self.directions is None or self.directions.shape[1] != inputs.shape[-1]:
            return _orthogonal_gaussian(self.num_features, inputs.shape[-1], self.seed).to(inputs)
        return self.directions.to(inputs)

    def formula(self, style: str) -> list[str]:
        if style == "latex":
            return [
                rf"\Phi(x) = \tfrac{{1}}{{\sqrt{{{self.num_features}}}}}"
                r"\left[\exp\!\left(w_i^\top z - \tfrac12\|z\|^2\right)\right]_{i \le "
                rf"{self.num_features}}},\quad z = x/D^{{1/4}},\quad w_i \text{{ normal}}"
            ]
        return [
            f"Φ(x) = [exp(w_i·z − |z|²/2)]_(i=1..{self.num_features}) / √{self.num_features},  z = x / D^(1/4),  w_i normal"
        ]


def _orthogonal_gaussian(count: int, head_dim: int, seed: int) -> Tensor:
    """Rows are N(0, I) each, orthogonal within blocks of head_dim: (count, head_dim), float32."""
    generator = torch.Generator().manual_seed(seed)
    blocks = []
    for _ in range(math.ceil(count / head_dim)):
        gaussian = torch.randn(head_dim, head_dim, generator=generator, dtype=torch.float64)
        lengths = torch.randn(head_dim, head_dim, generator=generator, dtype=torch.float64).norm(dim=1)
        basis, triangle = torch.linalg.qr(gaussian)
        # Without the signs the basis is not uniformly distributed and the features are biased.
        blocks.append((basis * triangle.diagonal().sign()).T * lengths[:, None])
    return torch.cat(blocks)[:count].float()
