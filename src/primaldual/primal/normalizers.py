"""Normalisers h: what the feature map is divided by."""

import torch
from torch import Tensor

from primaldual.primal.parts import Part


class Normalizer(Part):
    """A normaliser h(x); a subclass states ``denominator``."""

    choice = "normalizer"
    cancels_query_factors: bool = False
    """True if a factor on a whole row of the kernel matrix leaves the weights unchanged."""

    factored: bool | None = None
    """For factored attention: True = h is the sum of kernels, False = no division, None = needs the matrix."""

    def formula(self, style: str) -> list[str]:
        name = self.spec() or type(self).__name__
        return [rf"h(x) = \text{{{name}}}" if style == "latex" else f"h(x) = {name}"]

    def denominator(self, kernel_matrix: Tensor) -> Tensor:
        """h(x_i) from row i of the kernel matrix (masked entries are 0): (..., M, N) -> (..., M, 1)."""
        raise NotImplementedError


class SumOfKernels(Normalizer):
    """h(x) = sum_j kappa(T x, T k_j): weights sum to one; with the exponential kernel, softmax."""

    name = ""
    cancels_query_factors = True
    factored = True

    def denominator(self, kernel_matrix: Tensor) -> Tensor:
        return kernel_matrix.sum(-1, keepdim=True)

    def formula(self, style: str) -> list[str]:
        if style == "latex":
            return [r"h(x) = \sum_j \Phi(T(x))\cdot\Phi(T(k_j))"]
        return ["h(x) = Σ_j Φ(T(x))·Φ(T(k_j))"]


class Constant(Normalizer):
    """h(x) = 1: the kernel expansion as it is, without normalisation."""

    name = "constant"
    summary = "no normalisation: h = 1, the textbook kernel expansion"
    cost = "O(N²), with features O(N)"
    examples = ("constant", "linear+constant")
    factored = False

    def denominator(self, kernel_matrix: Tensor) -> Tensor:
        return torch.ones_like(kernel_matrix[..., :1])

    def formula(self, style: str) -> list[str]:
        del style
        return ["h(x) = 1"]
