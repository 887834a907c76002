"""Operations of one forward pass, counted from the sizes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

from torch import nn

from primaldual.errors import ArgumentError
from primaldual.models import TimeSeriesTransformer
from primaldual.nn.multihead import MultiheadAttention
from primaldual.primal.depthwise import DepthwiseConvolution
from primaldual.primal.head_groups import HeadGroups
from primaldual.primal.problem import PrimalProblem
from primaldual.primal.random_features import RandomFeatures
from primaldual.primal.subsets import Window


@dataclass(frozen=True)
class AttentionFlops:
    """Floating-point operations of one attention layer on one sequence.

    Attributes:
        projections: of queries, keys, values and output.
        mixing: scores and weighted sums, over all heads.
    """

    projections: int
    mixing: int

    @property
    def total(self) -> int:
        """Both."""
        return self.projections + self.mixing


@dataclass(frozen=True)
class ModelFlops:
    """Floating-point operations of one forward pass of a model on one series.

    Attributes:
        attention: all attention layers together.
        rest: embedding, feed-forward networks and head.
    """

    attention: AttentionFlops
    rest: int

    @property
    def total(self) -> int:
        """Attention and the rest."""
        return self.attention.total + self.rest


def mixing_flops(
    problem: PrimalProblem | HeadGroups,
    heads: int,
    head_dim: int,
    query_length: int,
    key_length: int | None = None,
) -> int:
    """Operations of the attention itself, on projected queries, keys and values of one sequence.

    Counted are products of matrices and convolutions, 2 per multiply-add; exponentials, divisions, statistics
    and pooling are not:

        softmax kernel       4 Nq Nt D    per head (scores, weighted sum; Nt training pairs)
        F features           2 (Nq + Nt) F D + 2 Nq F, and 2 (Nq + Nt) F D more to draw random ones
        a window of radius w counts the pairs inside it only
        filters of m taps    2 m Nt D, and 2 m Nq D where queries are convolved too

    each as the fast form has it, whatever mask may require the definition instead.

    Args:
        problem: the attention.
        heads: H.
        head_dim: D.
        query_length: Nq.
        key_length: Nk, default Nq.

    Example:
        >>> from primaldual.primal.presets import preset
        >>> mixing_flops(preset("softmax"), heads=4, head_dim=16, query_length=10)
        25600
        >>> mixing_flops(preset("sh(1,1,2,5)"), heads=4, head_dim=16, query_length=10)
        17280
    """
    key_length = query_length if key_length is None else key_length
    if isinstance(problem, HeadGroups):
        groups = [(part, len(members)) for part, members in problem.problems()]
        return sum(mixing_flops(part, count, head_dim, query_length, key_length) for part, count in groups)
    features = _features(problem, head_dim, key_length)
    filters = [part for part in problem.transform.modules() if isinstance(part, DepthwiseConvolution)]
    total = 0
    for scale in problem.subset.head_scales(heads):
        pairs = _pooled_length(problem, scale, key_length)
        for convolution in filters:
            positions = pairs + query_length if convolution.queries else pairs
            total += 2 * math.prod(convolution.taps) * positions * head_dim
        if features is None:
            total += 4 * head_dim * _scored(problem, query_length, pairs)
        else:
            products = 2 if isinstance(problem.feature_map, RandomFeatures) else 1
            total += 2 * features * (products * (query_length + pairs) * head_dim + query_length)
    return total


def layer_flops(layer: MultiheadAttention, length: int) -> AttentionFlops:
    """Operations of self-attention over ``length`` positions; pooled heads project only their pooled pairs.

    Example:
        >>> layer = MultiheadAttention(64, 4, attention="softmax")
        >>> layer_flops(layer, 10)
        AttentionFlops(projections=327680, mixing=25600)
    """
    problem = cast("PrimalProblem | HeadGroups", layer.problem)
    projections = 2 * 2 * length * layer.embed_dim * layer.num_heads * layer.head_dim
    sharing = layer.num_heads // layer.kv_heads
    alike = [] if isinstance(problem, HeadGroups) else [(problem, list(range(layer.num_heads)))]
    for part, members in problem.problems() if isinstance(problem, HeadGroups) else alike:
        for heads in part.subset.head_sets(len(members)):
            rows = len({members[head] // sharing for head in heads.members}) * layer.head_dim
            pairs = _pooled_length(part, heads.scale, length)
            projections += 2 * pairs * rows * (layer.k_proj.in_features + layer.v_proj.in_features)
    return AttentionFlops(projections, mixing_flops(problem, layer.num_heads, layer.head_dim, length))


def model_flops(model: nn.Module, length: int) -> ModelFlops:
    """Operations of a TimeSeriesTransformer on one series of ``length`` time points.

    Raises:
        ArgumentError: another kind of model.

    Example:
        >>> model_flops(TimeSeriesTransformer(channels=3, length=10, outputs=2, head="mean"), 10).total
        1366016
    """
    if not isinstance(model, TimeSeriesTransformer):
        raise ArgumentError(f"model must be a TimeSeriesTransformer; got {type(model).__name__}")
    layers = [module for module in model.modules() if isinstance(module, MultiheadAttention)]
    counts = [layer_flops(layer, length) for layer in layers]
    attention = AttentionFlops(
        sum(count.projections for count in counts), sum(count.mixing for count in counts)
    )
    inside = {id(module) for layer in layers for module in layer.modules()}
    rest = 0
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and id(module) not in inside:
            positions = 1 if name.startswith("head.") else length
            used = (
                min(module.in_features, length * model.head.embed_dim)
                if positions == 1
                else module.in_features
            )
            rest += 2 * positions * used * module.out_features
    return ModelFlops(attention, rest)


def _features(problem: PrimalProblem, head_dim: int, key_length: int) -> int | None:
    """F where the attention is computed from features, None where from the kernel matrix."""
    count = problem.feature_map.feature_count(head_dim)
    if count is None or isinstance(problem.subset, Window) or problem.normalizer.factored is None:
        return None
    return count if count <= 4 * head_dim or count < key_length else None


def _pooled_length(problem: PrimalProblem, scale: int, length: int) -> int:
    return problem.subset.layout.windows(length, scale)


def _scored(problem: PrimalProblem, query_length: int, pairs: int) -> int:
    """Pairs of query and key that get a score in one head."""
    if not isinstance(problem.subset, Window):
        return query_length * pairs
    offset, radius = pairs - query_length, problem.subset.radius
    return sum(
        max(0, min(pairs, row + offset + radius + 1) - max(0, row + offset - radius))
        for row in range(query_length)
    )
