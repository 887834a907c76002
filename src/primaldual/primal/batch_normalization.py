"""Batch normalisation of queries and keys by the keys' statistics, as an input transform."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor, nn

from primaldual.errors import ArgumentError
from primaldual.kernels import dense
from primaldual.kernels.batch_norm import batch_normalized_query
from primaldual.kernels.heads import for_query_heads
from primaldual.kernels.prefix_batch_norm import prefix_normalized_query
from primaldual.kernels.statistics import KeyStatistics, accumulation_dtype
from primaldual.primal.batch_norm_decoding import NormalizedByAverages, NormalizedByPrefix
from primaldual.primal.batch_norm_formula import batch_norm_formula
from primaldual.primal.decoding.incremental import Incremental
from primaldual.primal.head_sets import HeadSet
from primaldual.primal.running_statistics import RunningStatistics
from primaldual.primal.transforms import Transform

if TYPE_CHECKING:
    from primaldual.primal.training_sets import TrainingSet

SCALES = ("inv_std", "none")


class BatchNormalization(Transform):
    """T(x) = (x - beta mu) / sqrt(sigma^2 + eps), mu and sigma^2 the mean and biased variance of the training keys.

    The same statistics serve queries and keys; they are taken per head and per sequence over the
    keys that a query may attend. Softmax ignores what does not depend on the key, so

        softmax_j(T(q) . T(k_j) / sqrt(D)) = softmax_j((q - beta mu) / (sigma^2 + eps) . k_j / sqrt(D)):

    ordinary attention with a modified query. Source: Attention-BN, Nguyen et al., ICLR 2023.

    With ``running`` every sequence is normalised by its own keys in training, as without, and running averages
    follow; in evaluation they take the place of mu and sigma^2 for every sequence, causal or masked
    alike, as in :class:`torch.nn.InstanceNorm1d` with ``track_running_stats=True``.

    Args:
        beta: how much of the mean is subtracted.
        scale: "inv_std" divides by the deviation, "none" only recentres.
        eps: added to the variance; same unit as the squared keys.
        learnable: beta is a parameter, one scalar per head, starting at ``beta``; needs ``bind``.
        running: keep running statistics, see :class:`RunningStatistics`; needs ``bind``.
        momentum: least weight of the newest batch in them, from 0 (plain mean over batches) to 1.

    Attributes:
        averages: the :class:`RunningStatistics`, or None.

    Raises:
        ArgumentError: an unknown scale, eps not above 0, or a momentum outside [0, 1].

    Example:
        >>> from primaldual import PrimalProblem
        >>> problem = PrimalProblem(transform=BatchNormalization(running=True)).bind(heads=1, head_dim=2)
        >>> query, key, value = torch.randn(3, 1, 1, 5, 2).unbind(0)
        >>> trained = problem.attend(query, key, value)
        >>> torch.allclose(problem.eval().attend(query, key, value), trained, atol=1e-5)
        True
    """

    name = "bn"
    piecewise = True

    def __init__(
        self,
        *,
        beta: float = 1.0,
        scale: str = "inv_std",
        eps: float = 1e-5,
        learnable: bool = False,
        running: bool = False,
        momentum: float = 0.1,
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
        self.running = running
        self.momentum = momentum
        averages = RunningStatistics(momentum)
        self.averages = averages if running else None

    def bind(self, heads: int, head_dim: int) -> Self:
        if self.learnable:
            self.head_beta = nn.Parameter(torch.full((heads,), self.beta))
        if self.averages is not None:
            self.averages.bind(heads, head_dim)
        return self

    def keep_heads(self, members: list[int], heads: int) -> None:
        del heads
        if self.head_beta is not None:
            self.head_beta = nn.Parameter(self.head_beta.detach()[members], self.head_beta.requires_grad)
        if self.averages is not None:
            self.averages.keep_heads(members)

    @property
    def observes(self) -> bool:
        return self.running and self.training

    def observe(self, training: TrainingSet, heads: HeadSet) -> None:
        if self.averages is not None:
            _, found = training.centred()
            keys = training.attendable.keys
            mean, variance = (for_query_heads(part, len(heads.members)) for part in found)
            self.averages.update(
                KeyStatistics(mean, variance), None if keys is None else keys.any(-1), heads.members
            )

    def dense(self, query: Tensor, keys: Tensor, valid: Tensor, heads: HeadSet) -> tuple[Tensor, Tensor]:
        fixed = self.fixed_statistics(heads.members, query.dtype)
        mean, variance = dense.statistics(keys, valid) if fixed is None else fixed
        deviation = (variance + self.eps).sqrt() if self.scale == "inv_std" else torch.ones_like(variance)
        offset = self._beta(heads.members) * mean
        changed = (query - offset) / deviation
        changed_keys = (keys - offset.unsqueeze(-2)) / deviation.unsqueeze(-2)
        return changed.to(query.dtype), changed_keys.to(keys.dtype)

    def into_query(self, query: Tensor, training: TrainingSet, heads: HeadSet) -> tuple[Tensor, TrainingSet]:
        fixed = self.fixed_statistics(heads.members, query.dtype)
        if fixed is not None:
            sharing = query.shape[1] // training.key.shape[1]
            near_zero = (training.key - fixed.mean[:, ::sharing]).to(training.value.dtype)
            return self.normalized_query(query, fixed, heads), training.with_keys(near_zero)
        if (training.shared_by_queries or training.square) and _fusible(query, training.key):
            eps = self.eps if self.scale == "inv_std" else None
            fused = batch_normalized_query if training.shared_by_queries else prefix_normalized_query
            changed, keys = fused(
                query, training.key, training.attendable.keys, self._beta(heads.members), eps
            )
            return changed, training.with_keys(keys)
        training, found = training.centred()
        return self.normalized_query(query, found, heads), training

    def normalized_query(self, query: Tensor, statistics: KeyStatistics, heads: HeadSet) -> Tensor:
        mean, variance = (for_query_heads(part, query.shape[1]) for part in statistics)
        beta = self._beta(heads.members)
        changed = torch.sub(query, mean, alpha=beta) if isinstance(beta, float) else query - beta * mean
        if self.scale == "inv_std":
            changed = changed / (variance + self.eps)
        return changed.to(query.dtype)

    def shared(
        self, query: Tensor, training: TrainingSet, heads: HeadSet
    ) -> tuple[Tensor, TrainingSet] | None:
        found = self.fixed_statistics(heads.members, query.dtype)
        if found is None:
            if not training.shared_by_queries:
                return None
            _, found = training.centred()
        mean, variance = found
        training = training.for_query_heads(query.shape[1])
        offset = self._beta(heads.members) * for_query_heads(mean, query.shape[1])
        inverse = (
            (for_query_heads(variance, query.shape[1]) + self.eps).rsqrt() if self.scale == "inv_std" else 1.0
        )
        changed = training.with_keys(((training.key - offset) * inverse).to(query.dtype))
        return ((query - offset) * inverse).to(query.dtype), changed

    def fixed_statistics(self, members: list[int], dtype: torch.dtype) -> KeyStatistics | None:
        """Running mean and variance, (1, heads, 1, D), where they stand for every sequence; None in training.

        Args:
            members: numbers of the heads.
            dtype: of the queries that they are for.

        Raises:
            ArgumentError: running statistics that are not bound.
        """
        if self.averages is None:
            return None
        found = self.averages.of(members, dtype)
        return None if self.training else found

    def _beta(self, members: list[int]) -> float | Tensor:
        if not self.learnable:
            return self.beta
        if self.head_beta is None:
            raise ArgumentError(
                "bn(learnable=true) has one beta per head: call problem.bind(heads, head_dim) first"
            )
        return self.head_beta[members].view(-1, 1, 1)

    def formula(self, style: str) -> list[str]:
        beta = None if self.learnable else self.beta
        return batch_norm_formula(beta, self.eps if self.scale == "inv_std" else None, self.running, style)

    @property
    def shift_equivariant(self) -> bool:
        return True

    def incremental(self, heads: HeadSet, exact: bool) -> Incremental | None:
        if self.running and not self.training:
            return NormalizedByAverages(self, heads, exact)
        return None if exact else NormalizedByPrefix(self, heads)


def _fusible(query: Tensor, key: Tensor) -> bool:
    """Whether a fused form applies: full precision, outside the graphs that compilers fuse themselves."""
    dtype = query.dtype
    return dtype == key.dtype == accumulation_dtype(dtype) and not torch.compiler.is_compiling()
