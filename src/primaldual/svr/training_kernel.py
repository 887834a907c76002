"""The kernel matrix of a problem's training pairs, with h frozen at the keys."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from primaldual.errors import UnsupportedError
from primaldual.kernels.support_vectors.operators import DenseKernel, FactoredKernel
from primaldual.primal.head_sets import HeadSet
from primaldual.primal.problem import PrimalProblem
from primaldual.svr.kernel_checks import check_kernel

MOST_STACKED = 256
"""Largest N for which kernels of several heads are solved side by side."""

COPIES = 5
"""Kernel matrices that a solution holds at a time: as it is, centred, scaled, factorised, inverted."""


@dataclass(frozen=True, eq=False)
class TrainingKernel:
    """The training pairs of heads that pool alike, and K_ij = kappa(T k_i, T k_j) / (h(k_i) h(k_j)).

    Attributes:
        heads: which heads.
        kernel: K, (batch, heads, Nt, Nt), or its features Phi(T k) / h(k), (batch, heads, Nt, F).
        normalizer: h at the training keys, (batch, heads, Nt).
        valid: bool (batch, heads, Nt), which pairs there are.
        shares: (batch, heads, Nt, N), the share of each position in each pair; None if pairs are positions.
        offset: (batch, heads, Nt), what :meth:`centred` took off; None = nothing.
    """

    heads: HeadSet
    kernel: DenseKernel | FactoredKernel
    normalizer: Tensor
    valid: Tensor
    shares: Tensor | None
    offset: Tensor | None = None

    @property
    def safe_normalizer(self) -> Tensor:
        """h, with 1 where there is no pair."""
        return self.normalizer.masked_fill(~self.valid, 1.0)

    @property
    def stackable(self) -> bool:
        """Whether several small heads, all pairs valid, can be solved side by side."""
        batch, heads, size = self.valid.shape
        return batch * heads > 1 and size <= MOST_STACKED and bool(self.valid.all())

    def stacked(self) -> DenseKernel | FactoredKernel:
        """The kernels of all batches and heads as one stack."""
        return self.kernel.apply(lambda numbers: numbers.flatten(0, 1))

    def alone(self, place: tuple[int, int], rows: Tensor) -> DenseKernel | FactoredKernel:
        """The kernel of one batch and head on some of the pairs."""
        one = self.kernel.apply(lambda numbers: numbers[place])
        return one if len(rows) == self.valid.shape[-1] else one.pairs(rows)

    def mean_diagonal(self) -> Tensor:
        """Mean of K_jj over the valid pairs, (batch, heads)."""
        return self.kernel.diagonal().sum(-1) / self.valid.sum(-1).clamp(min=1)

    def centred(self) -> TrainingKernel:
        """The kernel H K H of features less their mean over the valid pairs.

        For coefficients that sum to zero K beta = H K H beta + offset' beta, the same for every pair.
        """
        share = self.valid.to(self.normalizer.dtype)
        share = share / share.sum(-1, keepdim=True).clamp(min=1)
        if isinstance(self.kernel, FactoredKernel):
            mean = share.unsqueeze(-2) @ self.kernel.features
            features = torch.where(self.valid.unsqueeze(-1), self.kernel.features - mean, 0.0)
            return replace(self, kernel=FactoredKernel(features), offset=(features @ mean.mT).squeeze(-1))
        means = self.kernel.times(share.unsqueeze(-2)).squeeze(-2)
        middle = (share * means).sum(-1, keepdim=True)
        half = (means - middle / 2).unsqueeze(-1)
        matrix = (self.kernel.matrix - half).sub_(half.mT)
        if not bool(self.valid.all()):
            matrix = torch.where(self.valid.unsqueeze(-1) & self.valid.unsqueeze(-2), matrix, 0.0)
        return replace(self, kernel=DenseKernel(matrix), offset=(means - middle) * self.valid)

    def to_pairs(self, positions: Tensor) -> Tensor:
        """Means over the members of every pair: (batch, heads, N, outputs) -> (batch, heads, Nt, outputs)."""
        return positions if self.shares is None else self.shares @ positions

    def to_positions(self, pairs: Tensor) -> Tensor:
        """Give every position the values of its pair; positions outside all pairs get 0."""
        if self.shares is None:
            return pairs
        return (self.shares > 0).to(pairs.dtype).mT @ pairs


def training_kernels(
    problem: PrimalProblem, keys: Tensor, mask: Tensor, memory: int
) -> Iterator[TrainingKernel]:
    """The kernels of all heads, group by group.

    Args:
        problem: states the choices.
        keys: (batch, heads, N, D), finite.
        mask: bool (batch, heads, N), True = a training pair.
        memory: bytes that a group may need.

    Raises:
        UnsupportedError: every query has a regression of its own, or memory would not suffice.
        ArgumentError: h is 0 or not finite, or the kernel is not positive semidefinite.
    """
    heads, length = keys.shape[1:3]
    if problem.subset.allowed(length, length, keys.device) is not None:
        raise UnsupportedError(
            f"the subset {problem.subset.spec()!r} fits every query on keys of its own, so there is no single regression "
            "to solve; accepted are subsets that serve all queries. Solve one query's keys without it"
        )
    if problem.normalizer.sink:
        raise UnsupportedError(
            f"{problem.normalizer.spec()} has a pair without a training value in h, which the regression does not have; "
            "accepted are problems without a sink"
        )
    if not problem.solver.amortized:
        raise UnsupportedError(
            f"{problem.solver.spec()} states its own coefficients, so no support vector regression gives them; accepted are "
            "problems without a solver"
        )
    for part in (problem.transform, problem.subset):
        needed = ", ".join(need.name for need in part.token_inputs)
        if needed:
            raise UnsupportedError(
                f"{part.spec()} takes {needed} of every token, and a regression has keys and targets alone; accepted are "
                "parts that need no more"
            )
    if problem.pair_weights.uneven:
        raise UnsupportedError(
            f"{problem.pair_weights.spec()} weighs pairs by the query, so there is no single regression to solve; accepted "
            "are problems whose pairs count alike"
        )
    if problem.order.linear:
        raise UnsupportedError(
            f"{problem.order.spec()} fits every query by itself, so there is no single regression to solve; accepted are "
            "problems whose local model is a constant"
        )
    for group in problem.subset.head_sets(heads):
        picked = keys[:, group.members]
        pairs = group.pairs(length)
        _check_memory(problem, picked, pairs, memory)
        allowed = mask[:, group.members].unsqueeze(-2)
        pooled, _, valid, shares, log_weight = problem.subset.dense_pairs(picked, picked, allowed, group)
        if log_weight is not None:
            raise UnsupportedError(
                f"the subset {problem.subset.spec()!r} counts pairs by their members, and the regression counts every "
                "pair once; accepted are subsets whose pairs count 1 each"
            )
        valid = valid.squeeze(2).expand(*picked.shape[:2], -1)
        _, points = problem.transform.dense(pooled.squeeze(2), pooled, valid.unsqueeze(2), group)
        points = torch.where(valid.unsqueeze(-1), points.squeeze(2), 0.0)
        shares = None if shares is None else shares.squeeze(2)
        kernel, normalizer = _kernel(problem, points, valid)
        check_kernel(problem, kernel, normalizer, valid)
        yield TrainingKernel(group, kernel, normalizer, valid, shares)


def _check_memory(problem: PrimalProblem, keys: Tensor, pairs: int, memory: int) -> None:
    batch, heads, length, head_dim = keys.shape
    features = _features(problem, head_dim, pairs)
    numbers = COPIES * pairs * (pairs if features is None else features)
    if pairs < length:
        numbers += pairs * length
    needed = batch * heads * numbers * keys.element_size()
    if needed > memory:
        raise UnsupportedError(
            f"{batch * heads} regressions on {pairs} training pairs need {needed / 2**30:.2g} GiB and memory allows "
            f"{memory / 2**30:.2g} GiB; accepted are fewer keys, a larger memory, or a feature map of fewer than a "
            "quarter as many features as pairs"
        )


def _features(problem: PrimalProblem, head_dim: int, pairs: int) -> int | None:
    """How many features stand for the kernel; None = the matrix itself."""
    count = problem.feature_map.feature_count(head_dim)
    few = count is not None and 4 * count <= pairs and problem.normalizer.factored is not None
    return count if few else None


def _kernel(
    problem: PrimalProblem, points: Tensor, valid: Tensor
) -> tuple[DenseKernel | FactoredKernel, Tensor]:
    if _features(problem, points.shape[-1], points.shape[-2]) is not None:
        features = problem.feature_map.features(points)
        if features is not None:
            features = torch.where(valid.unsqueeze(-1), features, 0.0)
            total = features.sum(-2, keepdim=True)
            whole = problem.normalizer.factored
            normalizer = (features * total).sum(-1) if whole else torch.ones_like(points[..., 0])
            return FactoredKernel(features / normalizer.masked_fill(~valid, 1).unsqueeze(-1)), normalizer
    return _dense_kernel(problem, points, valid)


def _dense_kernel(problem: PrimalProblem, points: Tensor, valid: Tensor) -> tuple[DenseKernel, Tensor]:
    """Logarithms of kappa as long as possible: raw kernels and normalisers span many orders of magnitude."""
    column = None if bool(valid.all()) else ~valid.unsqueeze(-1)
    pairs = None if column is None else column | column.mT
    scores = problem.feature_map.log_kernel(points, points)
    if scores is None or not problem.normalizer.cancels_query_factors:
        matrix = _filled(problem.feature_map.kernel(points, points), pairs, 0.0)
        normalizer = _filled(problem.normalizer.denominator(matrix), column, 1.0)
        return DenseKernel(matrix / normalizer / normalizer.mT), normalizer.squeeze(-1)
    scores = _filled(scores, pairs, -torch.inf)
    largest = _filled(scores.amax(-1, keepdim=True), column, 0.0)
    denominator = problem.normalizer.denominator((scores - largest).exp_())
    logarithms = largest + _filled(denominator, column, 1.0).log()
    matrix = (scores - logarithms).sub_(logarithms.mT).exp_()
    return DenseKernel(matrix), logarithms.exp().squeeze(-1)


def _filled(tensor: Tensor, where: Tensor | None, value: float) -> Tensor:
    return tensor if where is None else tensor.masked_fill(where, value)
