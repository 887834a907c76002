"""Normalisers h: what the feature map is divided by."""

from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from primaldual.kernels.arguments import finite, flag
from primaldual.primal.parts import Part


class Normalizer(Part):
    """A normaliser h(x); a subclass states ``denominator``.

    Example:
        >>> from primaldual import Dot, PrimalProblem
        >>> class Largest(Normalizer):
        ...     name = "largest"
        ...     def denominator(self, kernel):
        ...         return kernel.amax(-1, keepdim=True)
        >>> key = torch.tensor([[[[1.0], [4.0]]]])
        >>> PrimalProblem(Dot(), Largest()).weights(key, key)[0, 0, 0]
        tensor([0.2500, 1.0000])
    """

    choice = "normalizer"
    cancels_query_factors: bool = False
    """True if a factor on a whole row of the kernel matrix, and on a sink, leaves the weights unchanged."""

    sink: bool = False
    """Whether h has a term beside the kernels: one more pair, of value 0, whose logarithm :meth:`sink_logits` gives."""

    factored: ClassVar[bool | None] = None
    """For factored attention: True = h is the sum of kernels, False = no division, None = needs the matrix."""

    def formula(self, style: str) -> list[str]:
        name = self.spec() or type(self).__name__
        return [rf"h(x) = \text{{{name}}}" if style == "latex" else f"h(x) = {name}"]

    def sink_logits(self, members: list[int], like: Tensor) -> Tensor:
        """The logarithm of a sink's kernel in some heads, (1, heads, 1), in the type of a tensor."""
        raise NotImplementedError

    def denominator(self, kernel_matrix: Tensor) -> Tensor:
        """h(x_i) from row i of the kernel matrix (masked entries are 0): (..., M, N) -> (..., M, 1)."""
        raise NotImplementedError(f"{type(self).__name__} must define denominator")


class SumOfKernels(Normalizer):
    """h(x) = sum_j kappa(T x, T k_j): weights sum to one; with the exponential kernel, softmax.

    Example:
        >>> from primaldual import preset
        >>> key = torch.ones(1, 1, 2, 4)
        >>> preset("dot").weights(key, key)[0, 0, 0]
        tensor([0.5000, 0.5000])
    """

    name = ""
    cancels_query_factors = True
    factored: ClassVar[bool | None] = True

    def denominator(self, kernel_matrix: Tensor) -> Tensor:
        return kernel_matrix.sum(-1, keepdim=True)

    def formula(self, style: str) -> list[str]:
        if style == "latex":
            return [r"h(x) = \sum_j \Phi(T(x))\cdot\Phi(T(k_j))"]
        return ["h(x) = Σ_j Φ(T(x))·Φ(T(k_j))"]


class Sink(SumOfKernels):
    r"""h(x) = sum_j kappa(T x, T k_j) + e^s: one more pair whose value is 0, and whose score is s for every query.

    A head may then attend to nothing: the weights on keys sum to less than 1. With the exponential kernel the output is
    that of softmax times sigmoid(log sum_j exp(score_j) - s).

    Args:
        logit: s, at first.
        learnable: a parameter per head; else the number that is given.

    Raises:
        ArgumentError: a logit that is not finite, a flag that is not a bool.

    Reference: attention sinks with a learned logit per head, as in the open weights of gpt-oss (2025).

    Example:
        >>> from primaldual import preset
        >>> key = torch.zeros(1, 1, 3, 4)
        >>> preset("sink(0)").weights(key, key)[0, 0, 0]
        tensor([0.2500, 0.2500, 0.2500])
    """

    name = "sink"
    summary = "one more pair of value 0 in the normaliser, its logit learned"
    cost = "that of softmax, about"
    examples = ("sink(0.5)",)
    sink = True
    factored = None

    def __init__(self, logit: float = 0.0, *, learnable: bool = True) -> None:
        super().__init__()
        self.logit = finite("logit", logit)
        self.learnable = flag("learnable", learnable)
        self.head_logit: nn.Parameter | None
        self.register_parameter("head_logit", None)

    def arguments(self) -> tuple[object, ...]:
        return (f"{self.logit:g}",)

    def bind(self, heads: int, head_dim: int) -> Self:
        if self.learnable:
            self.head_logit = nn.Parameter(torch.full((heads,), self.logit))
        return self

    def keep_heads(self, members: list[int], heads: int) -> None:
        if self.head_logit is not None:
            self.head_logit = nn.Parameter(self.head_logit.detach()[members], self.head_logit.requires_grad)

    def sink_logits(self, members: list[int], like: Tensor) -> Tensor:
        if self.head_logit is None:
            return like.new_full((1, len(members), 1), self.logit)
        return self.head_logit[members].to(like.dtype).view(1, -1, 1)

    def formula(self, style: str) -> list[str]:
        s = "s_h" if self.learnable else f"{self.logit:g}"
        if style == "latex":
            return [rf"h(x) = \sum_j \Phi(T(x))\cdot\Phi(T(k_j)) + e^{{{s}}}"]
        return [f"h(x) = Σ_j Φ(T(x))·Φ(T(k_j)) + exp({s})"]


class Constant(Normalizer):
    """h(x) = 1: the kernel expansion as it is, without normalisation.

    Example:
        >>> from primaldual import preset
        >>> key = torch.ones(1, 1, 2, 4)
        >>> preset("dot+constant").weights(key, key)[0, 0, 0]
        tensor([4., 4.])
    """

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
