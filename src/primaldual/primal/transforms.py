"""Input transforms T: what happens to queries and training keys before the feature map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor, nn

from primaldual.errors import ArgumentError
from primaldual.kernels import dense
from primaldual.kernels.batch_norm import batch_normalized_query
from primaldual.kernels.heads import for_query_heads
from primaldual.kernels.masks import Attendable
from primaldual.kernels.statistics import accumulation_dtype
from primaldual.primal.head_sets import HeadSet
from primaldual.primal.parts import Part

if TYPE_CHECKING:
    from primaldual.primal.training_sets import TrainingSet

SCALES = ("inv_std", "none")


class Transform(Part):
    """An input transform; a subclass states ``dense``, and the fast forms that it has.

    Attributes:
        mixes_queries: whether T of a query depends on the other queries too, which must then all be given. A
            subclass that says so states ``dense_queries`` and ``mix_queries``, which come before the other forms.
    """

    mixes_queries: bool = False

    def dense(self, query: Tensor, keys: Tensor, valid: Tensor, heads: HeadSet) -> tuple[Tensor, Tensor]:
        """The definition: T of the queries and of every query's training keys.

        Args:
            query: (batch, heads, Nq, D).
            keys: (batch, heads, Nq or 1, Nt, D).
            valid: bool (batch, heads, Nq or 1, Nt), which of them are training keys.
            heads: which heads of the problem these are, their scale and the layout of their pairs.
        """
        raise NotImplementedError

    def into_query(
        self, query: Tensor, training: TrainingSet, heads: HeadSet
    ) -> tuple[Tensor, TrainingSet] | None:
        """A change of the queries that gives the same x . k up to a constant in j, or None.

        The keys may be replaced by keys that differ from them in one constant vector.
        """
        del query, training, heads
        return None

    def shared(
        self, query: Tensor, training: TrainingSet, heads: HeadSet
    ) -> tuple[Tensor, TrainingSet] | None:
        """T of queries and keys where one set of transformed keys serves all queries, else None."""
        del query, training, heads
        return None

    def dense_queries(self, query: Tensor, allowed: Tensor | None, heads: HeadSet) -> Tensor:
        """The definition of what queries take from one another.

        Args:
            query: (batch, heads, Nq, D).
            allowed: bool broadcastable to (batch, heads, Nq, Nk), which keys each may attend, before
                pooling; None where queries and keys are two sequences.
            heads: which heads of the problem these are.
        """
        del allowed, heads
        return query

    def mix_queries(self, query: Tensor, attendable: Attendable, heads: HeadSet) -> Tensor:
        """The same, fast; ``attendable`` has no condition where queries and keys are two sequences."""
        del attendable, heads
        return query


class Identity(Transform):
    """T(x) = x."""

    def dense(self, query: Tensor, keys: Tensor, valid: Tensor, heads: HeadSet) -> tuple[Tensor, Tensor]:
        return query, keys

    def into_query(self, query: Tensor, training: TrainingSet, heads: HeadSet) -> tuple[Tensor, TrainingSet]:
        return query, training

    def shared(self, query: Tensor, training: TrainingSet, heads: HeadSet) -> tuple[Tensor, TrainingSet]:
        return query, training

    def formula(self, style: str) -> list[str]:
        del style
        return ["T(x) = x"]


class BatchNormalization(Transform):
    """T(x) = (x - beta mu) / sqrt(sigma^2 + eps), mu and sigma^2 the mean and biased variance of the training keys.

    The same statistics serve queries and keys; they are taken per head and per sequence over the
    keys that a query may attend. Softmax ignores what does not depend on the key, so

        softmax_j(T(q) . T(k_j) / sqrt(D)) = softmax_j((q - beta mu) / (sigma^2 + eps) . k_j / sqrt(D)):

    ordinary attention with a modified query. Source: Attention-BN, Nguyen et al., ICLR 2023.

    Args:
        beta: how much of the mean is subtracted.
        scale: "inv_std" divides by the deviation, "none" only recentres.
        eps: added to the variance; same unit as the squared keys.
        learnable: beta is a parameter, one scalar per head, starting at ``beta``; needs ``bind``.

    Raises:
        ArgumentError: an unknown scale, or eps not above 0.
    """

    name = "bn"

    def __init__(
        self, *, beta: float = 1.0, scale: str = "inv_std", eps: float = 1e-5, learnable: bool = False
    ) -> None:
        super().__init__()
        if scale not in SCALES:
            raise ArgumentError(f"scale must be one of {', '.join(SCALES)}; got {scale!r}")
        if not eps > 0:
            raise ArgumentError(f"eps must be above 0; got {eps}")
        self.beta = float(beta)
        self.scale = scale
        self.eps = eps
        self.learnable = learnable
        self.head_beta: nn.Parameter | None
        self.register_parameter("head_beta", None)

    def bind(self, heads: int, head_dim: int) -> Self:
        del head_dim
        if self.learnable:
            self.head_beta = nn.Parameter(torch.full((heads,), self.beta))
        return self

    def dense(self, query: Tensor, keys: Tensor, valid: Tensor, heads: HeadSet) -> tuple[Tensor, Tensor]:
        mean, variance = dense.statistics(keys, valid)
        deviation = (variance + self.eps).sqrt() if self.scale == "inv_std" else torch.ones_like(variance)
        offset = self._beta(heads.members) * mean
        return (query - offset) / deviation, (keys - offset.unsqueeze(-2)) / deviation.unsqueeze(-2)

    def into_query(self, query: Tensor, training: TrainingSet, heads: HeadSet) -> tuple[Tensor, TrainingSet]:
        if training.shared_by_queries and query.dtype == training.key.dtype and _fusible(query):
            eps = self.eps if self.scale == "inv_std" else None
            changed, keys = batch_normalized_query(
                query, training.key, training.attendable.keys, self._beta(heads.members), eps
            )
            return changed, training.with_keys(keys)
        training, statistics = training.centred()
        mean, variance = (for_query_heads(part, query.shape[1]) for part in statistics)
        changed = query - self._beta(heads.members) * mean
        if self.scale == "inv_std":
            changed = changed / (variance + self.eps)
        return changed.to(query.dtype), training

    def shared(
        self, query: Tensor, training: TrainingSet, heads: HeadSet
    ) -> tuple[Tensor, TrainingSet] | None:
        if not training.shared_by_queries:
            return None
        _, (mean, variance) = training.centred()
        training = training.for_query_heads(query.shape[1])
        offset = self._beta(heads.members) * for_query_heads(mean, query.shape[1])
        inverse = (
            (for_query_heads(variance, query.shape[1]) + self.eps).rsqrt() if self.scale == "inv_std" else 1.0
        )
        changed = training.with_keys(((training.key - offset) * inverse).to(query.dtype))
        return ((query - offset) * inverse).to(query.dtype), changed

    def _beta(self, members: list[int]) -> float | Tensor:
        if not self.learnable:
            return self.beta
        if self.head_beta is None:
            raise ArgumentError(
                "bn(learnable=true) has one beta per head: call problem.bind(heads, head_dim) first"
            )
        return self.head_beta[members].view(-1, 1, 1)

    def formula(self, style: str) -> list[str]:
        number = "" if abs(self.beta) == 1 else f"{abs(self.beta):g}"
        moved = self.learnable or self.beta != 0
        divided = self.scale == "inv_std"
        plus = not self.learnable and self.beta < 0
        if style == "latex":
            beta = r"\beta_h" if self.learnable else number
            centred = f"x {'+' if plus else '-'} {beta}" + r"\mu" if moved else "x"
            mantissa, _, exponent = f"{self.eps:e}".partition("e")
            eps = ("" if float(mantissa) == 1 else rf"{float(mantissa):g}\cdot ") + rf"10^{{{int(exponent)}}}"
            whole = (f"({centred})" if moved else centred) + rf"\big/\sqrt{{\sigma^2 + {eps}}}"
            mean = r"\mu = \tfrac1N\sum_j k_j"
            variance = r",\quad \sigma^2 = \tfrac1N\sum_j (k_j - \mu)^2"
        else:
            beta = "β_h " if self.learnable else f"{number} ".lstrip()
            centred = f"x {'+' if plus else '−'} {beta}μ" if moved else "x"
            whole = (f"({centred})" if moved else centred) + f" / √(σ² + {self.eps:g})"
            mean, variance = "μ = mean_j k_j", ",  σ² = mean_j (k_j − μ)²"
        if divided:
            return [f"T(x) = {whole}", mean + variance]
        return [f"T(x) = {centred}", *([mean] if moved else [])]


def _fusible(query: Tensor) -> bool:
    """Whether the fused form applies: full precision, outside the graphs that compilers fuse themselves."""
    return accumulation_dtype(query.dtype) == query.dtype and not torch.compiler.is_compiling()
