"""Feature maps Phi: the kernel kappa(x, y) = Phi(x) . Phi(y), and Phi itself where it is finite."""

import math

import torch
from torch import Tensor
from torch.nn.functional import relu

from primaldual.errors import ArgumentError
from primaldual.primal.parts import Part


class FeatureMap(Part):
    """A feature map; a subclass states ``kernel``, and what else is true of it.

    The plan uses the fastest true statement: ``score_scale`` for softmax through SDPA, ``features``
    for factored attention, else the kernel matrix.
    """

    def kernel(self, query: Tensor, key: Tensor) -> Tensor:
        """Kernel matrix kappa(query_i, key_j): (..., M, D), (..., N, D) -> (..., M, N)."""
        raise NotImplementedError

    def log_kernel(self, query: Tensor, key: Tensor) -> Tensor | None:
        """Log kappa(query_i, key_j) where that is what is computed first, so that nothing overflows; else None."""
        del query, key
        return None

    def score_scale(self, head_dim: int) -> float | None:
        """The factor c if kappa(x, y) = exp(c x . y), else None."""
        del head_dim
        return None

    def features(self, inputs: Tensor) -> Tensor | None:
        """Phi(inputs), (..., D) -> (..., F), or None when it is infinite or unknown."""
        del inputs
        return None

    def feature_count(self, head_dim: int) -> int | None:
        """F, or None when Phi is infinite or unknown."""
        del head_dim
        return None


class Exponential(FeatureMap):
    """kappa(x, y) = exp(x . y / sqrt(D)); with the sum of kernels as normaliser this is softmax.

    Phi is infinite: all monomials of degree t in x, divided by D^(t/4) and the root of n!.
    Source: Nguyen et al., ICLR 2023.
    """

    def kernel(self, query: Tensor, key: Tensor) -> Tensor:
        return self.log_kernel(query, key).exp()

    def log_kernel(self, query: Tensor, key: Tensor) -> Tensor:
        return query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])

    def score_scale(self, head_dim: int) -> float:
        return head_dim**-0.5

    def formula(self, style: str) -> list[str]:
        if style == "latex":
            return [r"\Phi(x)\cdot\Phi(y) = \exp\!\left(x^\top y/\sqrt{D}\right)"]
        return ["Φ(x)·Φ(y) = exp(x·y / √D)"]


class EluPlusOne(FeatureMap):
    """Phi(x) = elu(x) + 1, elementwise: linear attention in O(N).

    Source: Katharopoulos et al., "Transformers are RNNs", ICML 2020.
    """

    name = "linear"

    def kernel(self, query: Tensor, key: Tensor) -> Tensor:
        def positive(inputs: Tensor) -> Tensor:
            return torch.where(inputs > 0, inputs + 1, inputs.clamp(max=0).exp())

        return positive(query) @ positive(key).transpose(-2, -1)

    def features(self, inputs: Tensor) -> Tensor:
        return inputs.clamp(max=0).exp() + relu(inputs)

    def feature_count(self, head_dim: int) -> int:
        return head_dim

    def formula(self, style: str) -> list[str]:
        return [r"\Phi(x) = \mathrm{elu}(x) + 1"] if style == "latex" else ["Φ(x) = elu(x) + 1"]


class TruncatedTaylor(FeatureMap):
    """kappa(x, y) = sum_{n <= order} (x . y / sqrt(D))^n / n!; tends to Exponential as the order grows.

    Odd orders are not positive definite as weights may be negative. Phi has 1 + D + ... + D^order entries.

    Args:
        order: highest power kept, 0 or more.

    Raises:
        ArgumentError: a negative or fractional order.
    """

    name = "taylor"

    def __init__(self, order: int = 2) -> None:
        super().__init__()
        if not isinstance(order, int) or isinstance(order, bool) or order < 0:
            raise ArgumentError(f"order must be an integer 0 or more; got {order}")
        self.order = order

    def arguments(self) -> tuple[object, ...]:
        return (self.order,)

    def kernel(self, query: Tensor, key: Tensor) -> Tensor:
        score = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])
        total = torch.ones_like(score)
        for power in range(1, self.order + 1):
            total = total + score**power / math.factorial(power)
        return total

    def features(self, inputs: Tensor) -> Tensor:
        scaled = inputs * inputs.shape[-1] ** -0.25
        parts = [torch.ones_like(inputs[..., :1])]
        monomials = parts[0]
        for power in range(1, self.order + 1):
            monomials = (monomials.unsqueeze(-1) * scaled.unsqueeze(-2)).flatten(-2) / math.sqrt(power)
            parts.append(monomials)
        return torch.cat(parts, -1)

    def feature_count(self, head_dim: int) -> int:
        return sum(head_dim**power for power in range(self.order + 1))

    def formula(self, style: str) -> list[str]:
        if style == "latex":
            return [
                rf"\Phi(x)\cdot\Phi(y) = \sum_{{n=0}}^{{{self.order}}} \frac{{1}}{{n!}}\left(x^\top y/\sqrt{{D}}\right)^n"
            ]
        return [f"Φ(x)·Φ(y) = Σ_(n=0..{self.order}) (x·y / √D)^n / n!"]


class RandomFeatures(FeatureMap):
    """Phi(x) = exp(w_i . z - |z|^2 / 2) / sqrt(M), z = x / D^(1/4), w_i ~ N(0, I), orthogonal in blocks.

    Positive random features: E[Phi(x) . Phi(y)] = exp(x . y / sqrt(D)).
    Source: Choromanski et al., "Rethinking Attention with Performers", ICLR 2021.

    Args:
        num_features: M, 1 or more.
        seed: the directions w_i follow from it and from D alone; the state_dict holds them once bound.

    Raises:
        ArgumentError: num_features below 1.
    """

    name = "random"

    def __init__(self, num_features: int = 64, *, seed: int = 0) -> None:
        super().__init__()
        if num_features < 1:
            raise ArgumentError(f"num_features must be 1 or more; got {num_features}")
        self.num_features = num_features
        self.seed = seed
        self.directions: Tensor
        self.register_buffer("directions", None)

    def arguments(self) -> tuple[object, ...]:
        return (self.num_features,)

    def bind(self, heads: int, head_dim: int) -> "RandomFeatures":
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
        scaled = inputs * inputs.shape[-1] ** -0.25
        exponent = (
            scaled @ self._directions(inputs).transpose(0, 1) - scaled.square().sum(-1, keepdim=True) / 2
        )
        return exponent.exp() * self.num_features**-0.5

    def feature_count(self, head_dim: int) -> int:
        del head_dim
        return self.num_features

    def _directions(self, inputs: Tensor) -> Tensor:
        if self.directions is None or self.directions.shape[1] != inputs.shape[-1]:
            return _orthogonal_gaussian(self.num_features, inputs.shape[-1], self.seed).to(inputs)
        return self.directions.to(inputs)

    def formula(self, style: str) -> list[str]:
        if style == "latex":
            return [
                rf"\Phi(x) = \tfrac{{1}}{{\sqrt{{{self.num_features}}}}}"
                r"\left[\exp\!\left(w_i^\top z - \tfrac12\|z\|^2\right)\right]_i,\quad z = x/D^{1/4}"
            ]
        return [
            f"Φ(x) = [exp(w_i·z − |z|²/2)]_(i=1..{self.num_features}) / √{self.num_features},  z = x / D^(1/4)"
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
