"""Operations of one forward pass, counted from the sizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from torch import nn

from primaldual.errors import ArgumentError
from primaldual.models import TimeSeriesTransformer
from primaldual.nn.multihead import MultiheadAttention
from primaldual.primal.attention import Attention


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
    problem: Attention,
    heads: int,
    head_dim: int,
    query_length: int,
    key_length: int | None = None,
) -> int:
    """Operations of the attention itself, on projected queries, keys and values of one sequence.

    Products of matrices and convolutions are counted, 2 per multiply-add; exponentials, divisions, statistics and
    pooling are not. The form that attends without a mask states the count, see :meth:`PrimalProblem.explain`:

        softmax kernel       4 Nq Nt D    per head (scores, weighted sum; Nt training pairs)
        F features           2 (Nq + Nt) F D + 2 Nq F, and 2 (Nq + Nt) F D more to draw random ones
        a window of radius w counts the pairs inside it only
        filters of m taps    2 m Nt D, and 2 m Nq D where queries are convolved too

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
    total = 0
    for part, members in problem.problems(heads):
        count = len(members)
        shapes = (1, count, query_length, head_dim), (1, count, key_length, head_dim)
        total += part.explain(*shapes).operations
    return total


def layer_flops(layer: MultiheadAttention, length: int) -> AttentionFlops:
    """Operations of self-attention over ``length`` positions; pooled heads project only their pooled pairs.

    Example:
        >>> layer = MultiheadAttention(64, 4, attention="softmax")
        >>> layer_flops(layer, 10)
        AttentionFlops(projections=327680, mixing=25600)
    """
    problem = cast("Attention", layer.problem)
    projections = 2 * 2 * length * layer.embed_dim * layer.num_heads * layer.head_dim
    sharing = layer.num_heads // layer.kv_heads
    for part, members in problem.problems(layer.num_heads):
        for heads in part.subset.head_sets(len(members)):
            rows = len({members[head] // sharing for head in heads.members}) * layer.head_dim
            projections += (
                2 * heads.pairs(length) * rows * (layer.k_proj.in_features + layer.v_proj.in_features)
            )
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
        if isinstance(module, nn.Conv1d):
            rest += 2 * length * module.weight.numel()
        if isinstance(module, nn.Linear) and id(module) not in inside:
            positions = 1 if name.startswith("head.") else length
            used = (
                min(module.in_features, length * model.head.embed_dim)
                if positions == 1
                else module.in_features
            )
            rest += 2 * positions * used * module.out_features
    return ModelFlops(attention, rest)
