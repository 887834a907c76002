"""The attention of a problem by definition, term by term, without any fast form."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from primaldual.errors import UnsupportedError
from primaldual.kernels import dense
from primaldual.kernels.masks import read_mask
from primaldual.kernels.statistics import accumulation_dtype, widest
from primaldual.primal.checks import check_mixing, check_shapes
from primaldual.primal.choices import Choices
from primaldual.primal.head_sets import HeadSet
from primaldual.primal.orders import LocalFit
from primaldual.primal.solvers import RowSystem
from primaldual.primal.sources import selection
from primaldual.primal.subsets import restrict
from primaldual.primal.token_inputs import Inputs, read_inputs, value_width, with_values


def outputs(
    choices: Choices,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    is_causal: bool,
    inputs: Inputs | None = None,
) -> Tensor:
    """See :meth:`PrimalProblem.dense`."""
    check_shapes(query, key, value)
    inputs = with_values(choices.token_inputs, inputs, query.shape[1], value)
    groups = _groups(choices, query, key, value, mask, is_causal, inputs)
    return _join(
        (heads, dense.weighted_sum(weights, values).to(value.dtype)) for heads, weights, values, _ in groups
    )


def weights(
    choices: Choices,
    query: Tensor,
    key: Tensor,
    mask: Tensor | None,
    is_causal: bool,
    inputs: Inputs | None = None,
) -> Tensor | list[Tensor]:
    """See :meth:`PrimalProblem.weights`."""
    check_shapes(query, key)
    groups = list(_groups(choices, query, key, _no_values(choices, key, inputs), mask, is_causal, inputs))
    if len({weights.shape[-1] for _, weights, _, _ in groups}) == 1:
        return _join((heads, weights) for heads, weights, _, _ in groups)
    by_head = {head: weights[:, row] for heads, weights, _, _ in groups for row, head in enumerate(heads)}
    return [by_head[head] for head in range(len(by_head))]


def attention_map(
    choices: Choices,
    query: Tensor,
    key: Tensor,
    mask: Tensor | None,
    is_causal: bool,
    inputs: Inputs | None = None,
) -> Tensor:
    """See :meth:`PrimalProblem.attention_map`."""
    check_shapes(query, key)
    if choices.subset.by_feature:
        raise UnsupportedError(
            f"{choices.subset.spec()} pools every feature of the values by weights of its own, so no map of positions gives "
            "the outputs; accepted are weights, on the pairs, and calls with need_weights=False"
        )
    if not choices.solver.has_map:
        raise UnsupportedError(
            f"{choices.solver.spec()} has coefficients of its own for every feature of the values, so no map of positions "
            "gives the outputs; accepted are weights, of the coefficients, and calls with need_weights=False"
        )
    maps, none = [], _no_values(choices, key, inputs)
    for heads, weights, _, shares in _groups(choices, query, key, none, mask, is_causal, inputs):
        if shares is None:
            spread = weights
        else:
            spread = (weights.unsqueeze(-2) @ shares.to(weights.dtype)).squeeze(-2)
        maps.append((heads, spread))
    return _join(maps)


def weights_of_heads(
    choices: Choices,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    allowed: Tensor,
    heads: HeadSet,
    added: Tensor | None,
    inputs: Inputs,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """The definition for heads that pool alike.

    Args:
        choices: the parts.
        query: (batch, heads of the group, Nq, D), after :meth:`Transform.dense_queries`.
        key: (batch, heads of the group, Nk, D).
        value: (batch, heads of the group, Nk, Dv).
        allowed: bool broadcastable to (batch, heads of the group, Nq or 1, Nk).
        heads: which heads these are, and the window length of their pairs.
        added: log of what each position counts for each query, (batch or 1, heads, Nq, Nk); None = 1 each.
        inputs: what the parts need of every token, of all heads and these queries.

    Returns:
        Weights (batch, heads, Nq, Nt); training values (batch, heads, Nq or 1, Nt, Dv); the share of
        each position in each pair (batch, heads, Nq or 1, Nt, Nk), None if pairs are positions.
    """
    keys, values, valid, shares, log_weight = choices.subset.dense_pairs(key, value, allowed, heads)
    if added is not None:
        of_pairs = added if shares is None else (shares * added.unsqueeze(-2)).sum(-1)
        log_weight = of_pairs if log_weight is None else log_weight + of_pairs
    changed, keys = choices.transform.dense(query, keys, valid, heads)
    if keys.shape[2] == valid.shape[2]:
        keys = torch.where(valid.unsqueeze(-1), keys, 0.0)
    if choices.solver.by_row:
        weights, values = row_pairs(choices, changed, keys, values, valid, log_weight, heads)
        return weights, values, shares
    if not choices.order.linear:
        return normalized_kernel(choices, changed, keys, valid, log_weight, heads)[0], values, shares
    dtype, wide = query.dtype, widest(query.device)
    changed, keys = changed.to(wide), keys.to(wide)
    weights, log_total = normalized_kernel(choices, changed, keys, valid, log_weight, heads)
    fit = LocalFit(changed, keys, weights, log_total, accumulation_dtype(dtype))
    probe = choices.order.dense_probe(fit, heads, inputs)
    mean = (weights.unsqueeze(-1) * keys).sum(-2, keepdim=True)
    tilted = weights * (1 - ((keys - mean) * probe.unsqueeze(-2)).sum(-1))
    return tilted.to(dtype), values, shares


def row_pairs(
    choices: Choices,
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    valid: Tensor,
    log_weight: Tensor | None,
    heads: HeadSet,
) -> tuple[Tensor, Tensor]:
    """What a solver by row makes of kernel, training kernel, values and pair weights: weights, and what they weigh.

    Arguments as :func:`normalized_kernel`. Half precision is computed in float32 or wider.
    """
    wide = widest(query.device) if choices.solver.widest else accumulation_dtype(query.dtype)
    rows, _ = normalized_kernel(choices, query.to(wide), keys.to(wide), valid, None, heads)
    one = torch.ones((), dtype=wide, device=keys.device)
    roots = torch.where(valid, one if log_weight is None else (log_weight / 2).exp(), 0.0)
    matrix = choices.feature_map.kernel(keys.to(wide), keys.to(wide))
    pairs = choices.solver.row_pairs(RowSystem(rows, matrix, roots.to(wide), values.to(wide)))
    return pairs if choices.solver.widest else (pairs[0].to(query.dtype), pairs[1].to(values.dtype))


def normalized_kernel(
    choices: Choices, query: Tensor, keys: Tensor, valid: Tensor, log_weight: Tensor | None, heads: HeadSet
) -> tuple[Tensor, Tensor]:
    """Kappa / h over the keys of every query, (batch, heads, Nq, Nt), and the logarithm of h, (batch, heads, Nq, 1).

    Args:
        choices: the parts.
        query: (batch, heads, Nq, D), transformed.
        keys: (batch, heads, Nq or 1, Nt, D), transformed.
        valid: bool (batch or 1, heads or 1, Nq or 1, Nt), which of them the query has.
        log_weight: log of what each counts, likewise; None = 1 each.
        heads: which heads these are.
    """
    matrix, log_factor = _kernel_matrix(choices, query, keys, valid, log_weight, heads)
    denominator = choices.normalizer.denominator(matrix)
    denominator = denominator.masked_fill(denominator == 0, 1.0)
    weights, log_total = matrix / denominator, denominator.to(log_factor.dtype).log() + log_factor
    return weights[..., :-1] if choices.normalizer.sink else weights, log_total


def _kernel_matrix(
    choices: Choices, query: Tensor, keys: Tensor, valid: Tensor, log_weight: Tensor | None, heads: HeadSet
) -> tuple[Tensor, Tensor]:
    """kappa(query_i, key_j) by weight, 0 where not valid, and the logarithm of what rows were divided by, (..., 1).

    Rows are scaled against overflow where h cancels it.

    A sink is one more column.

    Logarithms of kernels are float32 or wider: scores of half-precision inputs may leave the range of their type.
    """
    kernel, shape = choices.feature_map, (*query.shape[:3], keys.shape[-2])
    wide = accumulation_dtype(query.dtype)
    log_kernel = kernel.log_kernel(*dense.per_query(query.to(wide), keys.to(wide)))
    if log_kernel is None:
        matrix = kernel.kernel(*dense.per_query(query, keys)).reshape(shape)
        if log_weight is not None:
            matrix = (matrix * log_weight.exp()).to(matrix.dtype)
        weighted = torch.where(valid, matrix, 0.0)
        if choices.normalizer.sink:
            sink = choices.normalizer.sink_logits(heads.members, matrix).exp().unsqueeze(-1)
            weighted = torch.cat([weighted, sink.expand(*shape[:3], 1)], -1)
        return weighted, weighted.new_zeros(*shape[:3], 1, dtype=wide)
    scores = log_kernel.reshape(shape)
    scores = (scores if log_weight is None else scores + log_weight).masked_fill(~valid, -math.inf)
    if choices.normalizer.sink:
        sink = choices.normalizer.sink_logits(heads.members, scores).unsqueeze(-1)
        scores = torch.cat([scores, sink.expand(*shape[:3], 1)], -1)
    if choices.normalizer.cancels_query_factors and scores.shape[-1]:
        largest = scores.detach().amax(-1, keepdim=True)
        largest = torch.where(largest.isfinite(), largest, 0.0)
        return (scores - largest).to(query.dtype).exp(), largest
    return scores.to(query.dtype).exp(), scores.new_zeros(*shape[:3], 1)


def _groups(
    choices: Choices,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    is_causal: bool,
    inputs: Inputs | None = None,
) -> Iterator[tuple[list[int], Tensor, Tensor, Tensor | None]]:
    """Heads, weights, training values and shares of every group of heads that pool alike."""
    batch, count, query_length, _ = query.shape
    attendable = read_mask(mask, is_causal, batch, count, query_length, key.shape[2])
    needs = choices.token_inputs
    found = read_inputs(choices, needs, inputs, query, key.shape[2], value.shape[3], attendable)
    choices = choices.with_inputs(found)
    if choices.subset.by_scores:
        choices = choices.of_call(query, key, attendable)
    pattern = choices.subset.allowed(query_length, key.shape[2], key.device)
    if pattern is not None:
        attendable = restrict(attendable, pattern)
    check_mixing(choices.transform, attendable, query_length, key.shape[2])
    groups = count // key.shape[1]
    for heads in choices.subset.head_sets(count):
        members = heads.members
        allowed = attendable.select(selection(members)).matrix(query_length, key.shape[2], key.device)
        shared = [head // groups for head in members]
        picked = query[:, members]
        if choices.transform.mixes_queries:
            one_sequence = query_length == key.shape[2]
            picked = choices.transform.dense_queries(picked, allowed if one_sequence else None, heads)
        added = None
        if choices.pair_weights.uneven:
            wide = accumulation_dtype(
                query.dtype
            )  # half precision does not count to the length of a sequence
            positions = torch.arange(key.shape[2], dtype=wide, device=query.device)
            rows = torch.arange(query_length, dtype=wide, device=query.device)
            added = choices.pair_weights.log_weights(
                heads, count, rows + key.shape[2] - query_length, positions, found
            )
        tensors = picked, key[:, shared], value[:, shared]
        yield members, *weights_of_heads(choices, *tensors, allowed, heads, added, found)


def _no_values(choices: Choices, key: Tensor, inputs: Inputs | None) -> Tensor:
    """What stands for values where weights alone are asked for, (batch, kv heads, Nk, Dv)."""
    return key.new_zeros(()).expand(*key.shape[:3], value_width(choices.token_inputs, inputs, key.shape[3]))


def _join(groups: Iterable[tuple[list[int], Tensor]]) -> Tensor:
    """Put groups of heads back in order: (batch, heads, ...)."""
    collected = list(groups)
    order = [head for heads, _ in collected for head in heads]
    return torch.cat([tensor for _, tensor in collected], 1)[
        :, [order.index(head) for head in range(len(order))]
    ]
