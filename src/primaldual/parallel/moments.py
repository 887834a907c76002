"""Batch normalisation by the keys of all processes, from the count, mean and squared deviations of each."""

from __future__ import annotations

from torch import Tensor

from primaldual.kernels import statistics
from primaldual.kernels.heads import for_query_heads
from primaldual.kernels.statistics import KeyStatistics, accumulation_dtype
from primaldual.parallel.collectives import gather
from primaldual.parallel.sharded_call import ShardedCall
from primaldual.primal.transforms import Standardization


def whole_statistics(call: ShardedCall) -> KeyStatistics:
    """Mean and variance of the keys of all processes, (batch, kv heads, 1, D), float32 or wider; differentiable.

    With n_p keys, their mean mu_p and M_p = sum_j (k_j - mu_p)^2 on process p, and N, mu of all

        mu = sum_p n_p mu_p / N,   sigma^2 = sum_p (M_p + n_p (mu_p - mu)^2) / N,

    in which no large numbers cancel. The counts follow from lengths and masks, which are known.
    """
    own = statistics.shared_statistics(*statistics.centre(call.key, call.own_mask), call.own_mask)
    counts: list[Tensor | int] = [
        stop - start if call.mask is None else call.mask[..., start:stop].sum(-1, keepdim=True)
        for start, stop in call.shards.spans
    ]
    deviations = own.variance * counts[call.shards.rank]
    shapes = [[own.mean.shape, own.mean.shape] for _ in counts]
    parts = gather([own.mean, deviations], shapes, call.shards.group)
    return statistics.merged(
        [
            KeyStatistics(
                mean, squares / (max(count, 1) if isinstance(count, int) else count.clamp(min=1)), count
            )
            for (mean, squares), count in zip(parts, counts, strict=True)
        ]
    )


def standardized(
    query: Tensor, key: Tensor, found: KeyStatistics, by: Standardization, exact: bool
) -> tuple[Tensor, Tensor]:
    """g (q - beta mu) / s and (k - beta mu) / s, float32 or wider.

    Args:
        query: (batch, heads, nq, D).
        key: (batch, kv heads, n, D).
        found: mu and sigma^2, s^2 = sigma^2 + eps.
        by: beta, eps and g.
        exact: otherwise keys are less mu in place of beta mu, which a softmax ignores, and key heads stay shared.
    """
    heads, wide = query.shape[1], accumulation_dtype(query.dtype)
    query, key = query.to(wide), key.to(wide)
    beta = by.beta.view(-1, 1, 1).to(wide) if isinstance(by.beta, Tensor) else by.beta
    inverse = found.variance.new_ones(()) if by.eps is None else (found.variance + by.eps).rsqrt()
    of_queries = inverse if by.eps is None else for_query_heads(inverse, heads)
    offset = beta * for_query_heads(found.mean, heads)
    changed = (query - offset) * of_queries
    if by.gain is not None:
        changed = changed * by.gain.unsqueeze(1).to(wide)
    if exact and isinstance(beta, Tensor):
        return changed, (for_query_heads(key, heads) - offset) * of_queries
    return changed, (key - (found.mean * beta if exact else found.mean)) * inverse
