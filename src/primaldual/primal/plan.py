"""The fast plan: subset -> transform -> kernel, each by the fastest form that is exact."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import dropout

from primaldual.errors import ArgumentError
from primaldual.kernels.dense import weighted_sum
from primaldual.kernels.heads import for_query_heads
from primaldual.kernels.masks import Attendable, keep_attendable, read_mask
from primaldual.kernels.precision import own_precision
from primaldual.primal.checks import check_mixing, check_shapes
from primaldual.primal.definition import weights_of_heads
from primaldual.primal.head_sets import HeadSet
from primaldual.primal.piecewise import attend_piecewise
from primaldual.primal.sources import KeyValueSource, TensorSource, pick, selection
from primaldual.primal.subsets import restrict
from primaldual.primal.training_sets import TrainingSet

if TYPE_CHECKING:
    from primaldual.primal.problem import PrimalProblem

DENSE_ELEMENTS = 2**24
"""Largest intermediate of the dense form, in numbers; more queries are taken in chunks."""

FEW_FEATURES = 1024
"""Most features that are factored in a compiled graph, whose length is not known."""


def attend(
    problem: PrimalProblem,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    is_causal: bool,
    dropout_p: float,
) -> Tensor:
    """The attention of a problem on tensors (batch, heads, length, head_dim), shown to nobody."""
    return attend_source(problem, query, *read(query, key, value, mask, is_causal, dropout_p), dropout_p)


def read(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, is_causal: bool, dropout_p: float
) -> tuple[TensorSource, Attendable]:
    """What a user gives, checked: keys and values with zeros where nobody attends, and the conditions.

    Raises:
        ShapeError: tensors or mask do not fit together.
        ArgumentError: a mask that is not boolean, or dropout_p outside [0, 1).
    """
    check_shapes(query, key, value)
    if not 0 <= dropout_p < 1:
        raise ArgumentError(f"dropout_p must be at least 0 and below 1; got {dropout_p}")
    attendable = read_mask(mask, is_causal, query.shape[0], query.shape[1], query.shape[2], key.shape[2])
    key, value = clean(key, value, attendable)
    return TensorSource(key, value, query.shape[1]), attendable


def clean(key: Tensor, value: Tensor, attendable: Attendable) -> tuple[Tensor, Tensor]:
    """Keys and values with zeros where nobody attends, one key head per query head if masks differ by head."""
    used = attendable.keys
    if attendable.pairs is not None:
        attended = attendable.pairs.any(-2, keepdim=True)
        used = attended if used is None else used & attended
    if used is None:
        return key, value
    key, value = for_query_heads(key, used.shape[1]), for_query_heads(value, used.shape[1])
    return keep_attendable(key, used), keep_attendable(value, used)


def attend_source(
    problem: PrimalProblem, query: Tensor, source: KeyValueSource, attendable: Attendable, dropout_p: float
) -> Tensor:
    """The same for keys and values that may still be unprojected; shapes have been checked."""
    heads, query_length = query.shape[1], query.shape[2]
    neighbours = _neighbours(problem, attendable, query, source.length)
    if query_length == 1 and attendable.is_causal:
        attendable = Attendable(attendable.keys, attendable.pairs)
    groups = problem.subset.head_sets(heads)
    if not dropout_p and neighbours is None:
        out = attend_piecewise(problem, groups, query, source, attendable)
        if out is not None:
            return out
    outputs = []
    for group in groups:
        training = problem.subset.training_set(source, attendable, group, query_length)
        members = group.members
        picked = query if len(members) == heads else pick(query, members)
        if neighbours is not None:
            visible = neighbours.select(selection(members))
            with own_precision(query.device):
                picked = problem.transform.mix_queries(picked, visible, group)
        out = None
        if training is not None:
            with own_precision(query.device):
                out = _fast(problem, picked, training, group, dropout_p)
        if out is None:
            key, value = source.take(members)
            with own_precision(query.device):
                out = _dense(problem, picked, key, value, attendable, group, dropout_p)
        outputs.append(out)
    if len(outputs) == 1:
        return outputs[0]
    return _in_order(outputs, [group.members for group in groups])


def _in_order(outputs: list[Tensor], members: list[list[int]]) -> Tensor:
    """The outputs of groups of heads as one, heads last in memory, each copied once."""
    place = {head: (group, local) for group, heads in enumerate(members) for local, head in enumerate(heads)}
    runs: list[list[int]] = []
    for head in range(len(place)):
        group, local = place[head]
        if runs and runs[-1][0] == group and runs[-1][2] == local:
            runs[-1][2] += 1
        else:
            runs.append([group, local, local + 1])
    return torch.cat(
        [outputs[group].transpose(1, 2)[:, :, start:stop] for group, start, stop in runs], 2
    ).transpose(1, 2)


def _neighbours(
    problem: PrimalProblem, attendable: Attendable, query: Tensor, key_length: int
) -> Attendable | None:
    """What queries may take from one another, None if nothing: queries that stand where the keys do."""
    if not problem.transform.mixes_queries:
        return None
    pattern = problem.subset.allowed(query.shape[2], key_length, query.device)
    if pattern is not None:
        attendable = restrict(attendable, pattern)
    check_mixing(problem.transform, attendable, query.shape[2], key_length)
    return attendable if query.shape[2] == key_length else Attendable()


def _fast(
    problem: PrimalProblem, query: Tensor, training: TrainingSet, heads: HeadSet, dropout_p: float
) -> Tensor | None:
    """SDPA or a factored product, if the problem has one that is exact; else None."""
    scale = problem.feature_map.score_scale(query.shape[-1])
    if scale is not None and problem.normalizer.cancels_query_factors:
        changed = problem.transform.into_query(query, training, heads)
        changed = changed or problem.transform.shared(query, training, heads)
        return None if changed is None else changed[1].softmax(changed[0], scale, dropout_p)
    if dropout_p or not _worth_factoring(problem, query.shape[-1], training.key.shape[2]):
        return None
    normalize = problem.normalizer.factored
    changed = problem.transform.shared(query, training, heads) if normalize is not None else None
    if changed is None or normalize is None:
        return None
    query_features = problem.feature_map.features(changed[0])
    key_features = problem.feature_map.features(changed[1].key.to(query.dtype))
    if query_features is None or key_features is None:
        return None
    return changed[1].factored(query_features, key_features, normalize)


def _worth_factoring(problem: PrimalProblem, head_dim: int, key_length: int) -> bool:
    """Whether N products with F features cost less than N^2 products with D entries, roughly.

    A compiled graph serves many lengths, so the choice may not look at the length there.
    """
    count = problem.feature_map.feature_count(head_dim)
    if count is None:
        return False
    return count <= (FEW_FEATURES if torch.compiler.is_compiling() else max(4 * head_dim, key_length))


def _dense(
    problem: PrimalProblem,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attendable: Attendable,
    heads: HeadSet,
    dropout_p: float,
) -> Tensor:
    """The definition itself, in chunks of queries: for what has no faster exact form."""
    members = heads.members
    key, value = for_query_heads(key, len(members)), for_query_heads(value, len(members))
    attendable = attendable.select(selection(members))
    pattern = problem.subset.allowed(query.shape[2], key.shape[2], query.device)
    if pattern is not None:
        attendable = restrict(attendable, pattern)
    allowed = attendable.matrix(query.shape[2], key.shape[2], query.device)

    def rows_of(part: Tensor, allowed: Tensor) -> Tensor:
        weights, values, _ = weights_of_heads(problem, part, key, value, allowed, heads)
        return weighted_sum(dropout(weights, dropout_p) if dropout_p else weights, values)

    if torch.compiler.is_compiling():
        return rows_of(query, allowed)
    if query.numel() == 0 or key.numel() == 0:
        return value.new_zeros(*query.shape[:3], value.shape[3])
    rows = max(1, DENSE_ELEMENTS // key.numel())
    parts = query.split(rows, 2)
    patterns = allowed.split(rows, 2) if allowed.shape[2] > 1 else [allowed] * len(parts)
    return torch.cat([rows_of(part, pattern) for part, pattern in zip(parts, patterns, strict=True)], 2)
