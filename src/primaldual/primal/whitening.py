"""Whitening of queries and keys by the keys' covariance, as an input transform."""

from __future__ import annotations

import torch
from torch import Tensor

from primaldual.kernels.arguments import finite
from primaldual.kernels.cholesky import cholesky
from primaldual.kernels.heads import for_query_heads
from primaldual.kernels.statistics import widest
from primaldual.kernels.whitening import Shrinkage, centred_and_factor, prefix_whitened
from primaldual.primal.head_sets import HeadSet
from primaldual.primal.training_sets import ALL, OWN, PREFIX, Kind, TrainingSet
from primaldual.primal.transforms import Transform

SMALLEST_EPS = 1e-12


class Whitening(Transform):
    r"""T(x) = L^-1 (x - mu), L L^T = (1 - s) Sigma + s diag(Sigma) + eps I, mu and Sigma of the query's training keys.

    The metric of the regression becomes the inverse of the whole covariance, where batch normalisation takes its
    diagonal: with s = 1 this is ``bn``. Softmax ignores what does not depend on the key, so it is ordinary attention with
    the queries (L L^T)^-1 (q - mu). Under a causal mask every query has a covariance of its own.

    Args:
        shrink: s, from 0 (the covariance itself, which few keys make singular) to 1.
        eps: added to the diagonal; same unit as the squared keys.

    Raises:
        ArgumentError: a share outside [0, 1], or eps not above 0.

    Source: ours, as the step between Attention-BN (Nguyen et al., ICLR 2023) and local linear attention.

    Example:
        >>> from primaldual import preset
        >>> query, key, value = torch.randn(3, 1, 2, 9, 4, dtype=torch.float64).unbind(0)
        >>> diagonal = preset("whiten(1)").attend(query, key, value)
        >>> torch.allclose(diagonal, preset("bn").attend(query, key, value))
        True
    """

    name = "whiten"
    summary = "the keys' whole covariance inside the score, where bn has its diagonal"
    cost = "that of softmax, about; causal D × D systems for every query"
    examples = ("whiten", "whiten(0.5)")
    uses_statistics = True

    def __init__(self, shrink: float = 0.1, *, eps: float = 1e-5) -> None:
        super().__init__()
        self.shrink = finite("shrink", shrink, 0, 1)
        self.eps = finite("eps", eps, SMALLEST_EPS)

    def arguments(self) -> tuple[object, ...]:
        return (f"{self.shrink:g}",)

    def dense(self, query: Tensor, keys: Tensor, valid: Tensor, heads: HeadSet) -> tuple[Tensor, Tensor]:
        dtype, wide = query.dtype, widest(query.device)
        query, keys, member = query.to(wide), keys.to(wide), valid.unsqueeze(-1).to(wide)
        count = member.sum(-2, keepdim=True).clamp(min=1)
        mean = (member * keys).sum(-2, keepdim=True) / count
        moved = keys - mean
        covariance = torch.einsum("...nc,...nd->...cd", member * moved, moved) / count
        diagonal = torch.diag_embed(covariance.diagonal(dim1=-2, dim2=-1))
        identity = torch.eye(keys.shape[-1], dtype=wide, device=keys.device)
        shrunk = (1 - self.shrink) * covariance + self.shrink * diagonal + self.eps * identity
        inverse = torch.linalg.inv(cholesky(shrunk, "the covariance of the keys")).mT
        changed = ((query - mean.squeeze(-2)).unsqueeze(-2) @ inverse).squeeze(-2)
        return changed.to(dtype), (moved @ inverse).to(dtype)

    def shared_refusal(self, kind: Kind) -> str | None:
        if kind.seen != ALL:
            return f"{self.spec()} takes the covariance of a query's keys, which differs from query to query"
        return None

    def query_refusal(self, kind: Kind) -> str | None:
        if kind == (PREFIX, False):
            return None
        if kind.seen == OWN or kind.pooled_late:
            return f"{self.spec()} takes the covariance of pairs that every query has for itself"
        return self.shared_refusal(kind)

    def scored_refusal(self, kind: Kind) -> str | None:
        return self.shared_refusal(kind)

    def shared(self, query: Tensor, training: TrainingSet, heads: HeadSet) -> tuple[Tensor, TrainingSet]:
        training = training.for_query_heads(query.shape[1])
        mean, moved, factor = centred_and_factor(training.key, training.attendable.keys, self.shrinkage)
        identity = torch.eye(factor.shape[-1], dtype=factor.dtype, device=factor.device)
        inverse = torch.linalg.solve_triangular(factor, identity, upper=False).transpose(-2, -1)
        inverse, dtype = inverse.to(moved.dtype), query.dtype
        changed = (query - mean).to(moved.dtype) @ inverse
        return changed.to(dtype), training.with_keys((moved @ inverse).to(dtype))

    def into_query(self, query: Tensor, training: TrainingSet, heads: HeadSet) -> tuple[Tensor, TrainingSet]:
        """T of both where all queries share their keys; else keys less a vector and queries (q - mu) (L L^T)^-1."""
        if training.kind.seen == ALL:
            return self.shared(query, training, heads)
        mask, wide = training.attendable.keys, widest(query.device)
        if mask is not None and mask.shape[1] > 1:
            training = training.for_query_heads(query.shape[1])
        training, found = training.centred()
        assert found.shift is not None
        moved = query.to(wide) - for_query_heads(found.shift, query.shape[1])
        changed = prefix_whitened(moved, training.key.to(wide), mask, self.shrinkage, training.first)
        return changed.to(training.key.dtype), training

    @property
    def shrinkage(self) -> Shrinkage:
        """Sigma' from Sigma."""
        return Shrinkage(self.shrink, self.eps)

    @property
    def shift_equivariant(self) -> bool:
        return True

    def operations(self, pairs: int, queries: int, head_dim: int) -> int:
        return 2 * (pairs + queries) * head_dim**2

    def formula(self, style: str) -> list[str]:
        kept, share, eps = 1 - self.shrink, self.shrink, self.eps
        if style == "latex":
            return [
                r"T(x) = L^{-1} (x - \mu),\quad "
                rf"L L^\top = {kept:g}\,\Sigma + {share:g}\operatorname{{diag}}(\Sigma) + {eps:g}\,I"
            ]
        return [f"T(x) = L⁻¹ (x − μ),  L Lᵀ = {kept:g} Σ + {share:g} diag(Σ) + {eps:g} I"]
