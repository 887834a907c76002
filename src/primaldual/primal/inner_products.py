"""Feature maps of the inputs themselves: inner products, their powers, and cosines."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import normalize

from primaldual.kernels.arguments import whole
from primaldual.primal.feature_maps import FeatureMap

SHORTEST = 1e-6
"""Length below which an input is taken for shorter than 1."""


class Dot(FeatureMap):
    """Phi(x) = x: kappa(x, y) = x . y, without 1 / sqrt(D).

    The kernel may be negative, so h = sum of kernels may vanish: ``dot+constant`` is the expansion as it is.

    Example:
        >>> from primaldual import preset
        >>> import torch
        >>> key = torch.tensor([[[[1.0, 0.0], [2.0, 1.0]]]])
        >>> preset("dot+constant").weights(key, key)[0, 0]
        tensor([[1., 2.],
                [2., 5.]])
    """

    name = "dot"
    summary = "inner products of the inputs themselves"
    cost = "O(N)"
    examples = ("dot+constant",)
    positive_semidefinite = True

    def kernel(self, query: Tensor, key: Tensor) -> Tensor:
        return query @ key.transpose(-2, -1)

    def features(self, inputs: Tensor) -> Tensor:
        return inputs

    def feature_count(self, head_dim: int) -> int:
        return head_dim

    def formula(self, style: str) -> list[str]:
        return [r"\Phi(x) = x"] if style == "latex" else ["Φ(x) = x"]


class Polynomial(FeatureMap):
    """kappa(x, y) = (x . y)^degree, without 1 / sqrt(D): Phi(x) are all products of ``degree`` entries of x.

    Of an odd degree the kernel may be negative, so h = sum of kernels may vanish: then ``polynomial(3)+constant``. Phi has
    D^degree entries, and serves where these cost less than the kernel matrix.

    Args:
        degree: the power, from 1 to 16.

    Raises:
        ArgumentError: another degree.

    Example:
        >>> from primaldual import preset
        >>> import torch
        >>> key = torch.tensor([[[[1.0, 0.0], [2.0, 1.0]]]])
        >>> preset("polynomial(2)+constant").weights(key, key)[0, 0]
        tensor([[ 1.,  4.],
                [ 4., 25.]])
    """

    name = "polynomial"
    summary = "powers of inner products"
    cost = "O(N) for long sequences"
    examples = ("polynomial(2)", "polynomial(3)+constant")
    positive_semidefinite = True

    def __init__(self, degree: int = 2) -> None:
        super().__init__()
        self.degree = whole("degree", degree, least=1, most=16)

    def arguments(self) -> tuple[object, ...]:
        return (self.degree,)

    def kernel(self, query: Tensor, key: Tensor) -> Tensor:
        return (query @ key.transpose(-2, -1)) ** self.degree

    def features(self, inputs: Tensor) -> Tensor:
        products = inputs
        for _ in range(self.degree - 1):
            products = (products.unsqueeze(-1) * inputs.unsqueeze(-2)).flatten(-2)
        return products

    def feature_count(self, head_dim: int) -> int:
        return int(head_dim**self.degree)

    def operations(self, head_dim: int) -> int:
        return sum(head_dim**power for power in range(2, self.degree + 1))

    def formula(self, style: str) -> list[str]:
        if style == "latex":
            return [rf"\Phi(x)\cdot\Phi(y) = (x \cdot y)^{{{self.degree}}}"]
        return [f"Φ(x)·Φ(y) = (x·y)^{self.degree}"]


class Cosine(FeatureMap):
    """Phi(x) = x / |x|: kappa(x, y) is the cosine of the angle between them; x / 1e-6 where x is shorter than 1e-6.

    Example:
        >>> from primaldual import preset
        >>> import torch
        >>> key = torch.tensor([[[[3.0, 4.0], [2.0, 0.0]]]])
        >>> preset("cosine+constant").weights(key, key)[0, 0]
        tensor([[1.0000, 0.6000],
                [0.6000, 1.0000]])
    """

    name = "cosine"
    summary = "cosines of the angles between inputs: features of length 1"
    cost = "O(N)"
    examples = ("cosine+constant",)
    positive_semidefinite = True

    def kernel(self, query: Tensor, key: Tensor) -> Tensor:
        queries, keys = (x / x.norm(dim=-1, keepdim=True).clamp(min=SHORTEST) for x in (query, key))
        return queries @ keys.transpose(-2, -1)

    def features(self, inputs: Tensor) -> Tensor:
        return normalize(inputs, dim=-1, eps=SHORTEST)

    def feature_count(self, head_dim: int) -> int:
        return head_dim

    def formula(self, style: str) -> list[str]:
        return [r"\Phi(x) = x / \|x\|"] if style == "latex" else ["Φ(x) = x / ‖x‖"]
