"""Feature maps Phi: the kernel kappa(x, y) = Phi(x) . Phi(y), and Phi itself where it is finite."""

from __future__ import annotations

import math
from copy import deepcopy
from typing import ClassVar, Self

import torch
from torch import Tensor

from primaldual.errors import UnsupportedError
from primaldual.kernels.arguments import finite, whole
from primaldual.primal.parts import Part

HIGHEST_ORDER = 64
"""Of the power series of the exponential; scores below 20 are exact to float64 long before."""


class FeatureMap(Part):
    """A feature map; a subclass states ``kernel``, and what else is true of it.

    Forms read: ``score_scale`` for softmax through SDPA, ``features``
    for factored attention, else the kernel matrix.

    Example:
        >>> from primaldual import PrimalProblem
        >>> class Squared(FeatureMap):
        ...     name = "squared"
        ...     def kernel(self, query, key):
        ...         return (query @ key.mT) ** 2
        >>> key = torch.tensor([[[[1.0], [3.0]]]])
        >>> PrimalProblem(Squared()).weights(key, key)[0, 0, 0]
        tensor([0.1000, 0.9000])
    """

    choice = "feature_map"
    positive_semidefinite: bool = False
    """True if every kernel matrix is known to be; others are examined where it matters, in a regression."""

    elementwise: str | None = None
    """The name of Phi among the elementwise maps that kernels for GPUs compute, "elu+1"; None = ``features`` does."""

    def kernel(self, query: Tensor, key: Tensor) -> Tensor:
        """Kernel matrix kappa(query_i, key_j): (..., M, D), (..., N, D) -> (..., M, N)."""
        raise NotImplementedError(f"{type(self).__name__} must define kernel")

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

    def formula(self, style: str) -> list[str]:
        name = self.spec() or type(self).__name__
        if style == "latex":
            return [rf"\Phi(x)\cdot\Phi(y) = \text{{{name}}}(x, y)"]
        return [f"Φ(x)·Φ(y) = {name}(x, y)"]

    def operations(self, head_dim: int) -> int:
        """Operations of the products of matrices in Phi of one query or key."""
        del head_dim
        return 0

    facts: ClassVar[dict[str, tuple[str, ...]]] = {
        "score_scale": ("kernel", "log_kernel"),
        "rescaled": ("kernel", "log_kernel"),
        "positive_semidefinite": ("kernel", "log_kernel"),
        "log_kernel": ("kernel",),
        "features": ("kernel",),
        "elementwise": ("kernel", "features"),
        "feature_count": ("kernel",),
    }

    def rescaled(self, scale: float) -> FeatureMap:
        """The feature map of a layer that multiplies its scores by ``scale``; a factor that it states itself stands.

        Raises:
            UnsupportedError: the kernel is not exponential in the scores.
        """
        raise UnsupportedError(
            f"scores with a scale of {scale:g} need the exponential kernel; got {(self.spec() or type(self).__name__)!r}"
        )


class Exponential(FeatureMap):
    """kappa(x, y) = exp(x . y / sqrt(D)); with the sum of kernels as normaliser this is softmax.

    Phi is infinite: all monomials of degree t in x, divided by D^(t/4) and the root of n!.
    Source: Nguyen et al., ICLR 2023.

    Args:
        scale: a positive factor, at most 1e6, in place of 1 / sqrt(D), as some models have it.

    Raises:
        ArgumentError: a scale that is not a positive number.

    Example:
        >>> key = torch.ones(1, 1, 1, 4)
        >>> Exponential().kernel(key, key).log(), Exponential(scale=0.25).kernel(key, key).log()
        (tensor([[[[2.]]]]), tensor([[[[1.]]]]))
    """

    name = ""
    summary = "softmax attention: exponential kernel, sum of kernels"
    cost = "O(N²)"
    positive_semidefinite = True

    def __init__(self, *, scale: float | None = None) -> None:
        super().__init__()
        self._set_scale(scale)

    def _set_scale(self, scale: float | None) -> None:
        self.scale = None if scale is None else finite("scale", scale, 0, above=True)
        if scale is not None and not self.name:
            self.name = "softmax"

    def kernel(self, query: Tensor, key: Tensor) -> Tensor:
        return self.log_kernel(query, key).exp()

    def log_kernel(self, query: Tensor, key: Tensor) -> Tensor:
        if self.scale is not None:
            return self.scale * (query @ key.transpose(-2, -1))
        return query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])

    def score_scale(self, head_dim: int) -> float:
        return head_dim**-0.5 if self.scale is None else self.scale

    def rescaled(self, scale: float) -> Self:
        if self.scale is not None:
            return self
        changed = deepcopy(self)
        changed._set_scale(scale)
        return changed

    def formula(self, style: str) -> list[str]:
        if style == "latex":
            score = r"x^\top y/\sqrt{D}" if self.scale is None else rf"{self.scale:g}\,x^\top y"
            return [rf"\Phi(x)\cdot\Phi(y) = \exp\!\left({score}\right)"]
        return ["Φ(x)·Φ(y) = exp(x·y / √D)" if self.scale is None else f"Φ(x)·Φ(y) = exp({self.scale:g} x·y)"]


class EluPlusOne(FeatureMap):
    """Phi(x) = elu(x) + 1, elementwise: linear attention in O(N).

    Source: Katharopoulos et al., "Transformers are RNNs", ICML 2020.

    Example:
        >>> EluPlusOne().features(torch.tensor([-1.0, 0.0, 2.0]))
        tensor([0.3679, 1.0000, 3.0000])
    """

    name = "linear"
    summary = "linear attention: elu(x) + 1 features"
    cost = "O(N)"
    positive_semidefinite = True
    elementwise = "elu+1"

    def kernel(self, query: Tensor, key: Tensor) -> Tensor:
        def positive(inputs: Tensor) -> Tensor:
            return torch.where(inputs > 0, inputs + 1, torch.where(inputs > 0, 0.0, inputs).exp())

        return positive(query) @ positive(key).transpose(-2, -1)

    def features(self, inputs: Tensor) -> Tensor:
        # Of slope 1 at 0, where clamp() has 0; elu() + 1 would round small features away, where() takes five times as long.
        rising = inputs.relu()
        return (inputs - rising).exp_() + rising

    def feature_count(self, head_dim: int) -> int:
        return head_dim

    def formula(self, style: str) -> list[str]:
        return [r"\Phi(x) = \mathrm{elu}(x) + 1"] if style == "latex" else ["Φ(x) = elu(x) + 1"]


class TruncatedTaylor(FeatureMap):
    """kappa(x, y) = sum_{n <= order} (x . y / sqrt(D))^n / n!; tends to Exponential as the order grows.

    Every order is positive semidefinite, the factors of the powers being positive. But entries of an odd
    order may be negative, and with them weights and h. Phi has 1 + D + ... + D^order entries.

    Args:
        order: highest power kept, from 0 to 64.

    Raises:
        ArgumentError: another order.

    Example:
        >>> key = torch.ones(1, 1, 1, 4)
        >>> [round(TruncatedTaylor(order).kernel(key, key).item(), 4) for order in (1, 2, 8)]
        [3.0, 5.0, 7.3873]
    """

    name = "taylor"
    summary = "exponential kernel, its series cut after a power"
    cost = "O(N) for long sequences"
    examples = ("taylor(2)", "taylor(4)")
    positive_semidefinite = True

    def __init__(self, order: int = 2) -> None:
        super().__init__()
        self.order = whole("order", order, most=HIGHEST_ORDER)

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
