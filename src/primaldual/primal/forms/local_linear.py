"""Softmax attention with a slope: weights of some queries at a time, tilted along their probes."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from primaldual.kernels.local_linear import Slopes, local_linear_attention
from primaldual.kernels.masks import causal_mask
from primaldual.kernels.precision import own_precision
from primaldual.kernels.statistics import accumulation_dtype, widest
from primaldual.primal.call import Call
from primaldual.primal.choices import Choices
from primaldual.primal.forms.form import Cost, Form, softmax_cost, softmax_refusal
from primaldual.primal.head_sets import HeadSet
from primaldual.primal.orders import Order
from primaldual.primal.pair_weights import PairWeights
from primaldual.primal.question import GRAPH, Question
from primaldual.primal.training_sets import TrainingSet

BLOCK_NUMBERS = 2**18
"""Weights that are formed at a time where probes are given: they stay in the cache."""

PRODUCT_NUMBERS = 2**20
"""Weights that are formed at a time where moments are taken of them, which are products of large matrices."""

KEY_PRODUCTS = 2**22
"""Numbers of products of keys that are held at a time."""


class LocalLinearForm(Form):
    """sum_j w_j (1 - (k_j - kbar) . r) v_j, w the softmax and r the probe, for keys that all queries share."""

    name = "local linear"

    def refusal(self, choices: Choices, heads: HeadSet, question: Question) -> str | None:
        if not choices.order.linear:
            return "needs a local model with a slope"
        if not (choices.order.least_squares or choices.order.given):
            return f"{choices.order.spec()} defines its probe by its dense form alone"
        if question.mode == GRAPH:
            return "runs outside of graphs"
        plain = choices._replace(pair_weights=PairWeights(), order=Order())
        if refused := softmax_refusal(plain, question):
            return refused
        kind = choices.subset.training_kind(heads, question.pairs, question.is_causal)
        if isinstance(kind, str):
            return kind
        if kind.pooled_late:
            return f"{choices.subset.spec()} pools for every query what it may attend"
        if choices.pair_weights.uneven and not heads.single(question.key_length):
            return f"{choices.subset.spec()} has pairs that are not one for each position"
        return choices.transform.shared_refusal(kind)

    def cost(self, choices: Choices, heads: HeadSet, question: Question) -> Cost:
        pairs, count = heads.pairs(question.key_length), question.batch * len(heads.members)
        plain = softmax_cost(choices, heads, question, pairs)
        slope = choices.order.operations(pairs, question.query_length, question.head_dim)
        return Cost(
            plain.operations + count * slope,
            plain.numbers + min(PRODUCT_NUMBERS, count * question.query_length * pairs),
        )

    def attend(self, call: Call, heads: HeadSet) -> Tensor:
        query, order = call.queries(heads), call.choices.order
        wide = accumulation_dtype(query.dtype) if order.given else widest(query.device)
        with own_precision(query.device):
            training = call.training_set(heads).to(wide)
            changed, training = call.choices.transform.shared(query.to(wide), training, heads)
            training = training.listed().for_query_heads(query.shape[1])
            probe = order.given_probe(heads, call.inputs)
            taken = [changed, training.key, training.value]
            taken += [] if probe is None else [probe.to(wide)]
            size, rows = _block_sizes(order, changed, training.key)
            parts = zip(*(tensor.flatten(0, 1).split(size) for tensor in taken), strict=True)
            outputs = [
                _by_rows(_Heads(call, heads, training, number * size), rows, *part)
                for number, part in enumerate(parts)
            ]
            return torch.cat(outputs).unflatten(0, query.shape[:2]).to(query.dtype)


def _block_sizes(order: Order, query: Tensor, key: Tensor) -> tuple[int, int]:
    """How many heads, of all sequences, and how many of their queries are taken at a time."""
    length, dim = key.shape[2:]
    numbers = BLOCK_NUMBERS if order.given else PRODUCT_NUMBERS
    rows = min(query.shape[2], max(1, numbers // length))
    heads = numbers // (rows * length)
    if not order.given:
        heads = min(heads, 2 * KEY_PRODUCTS // (length * dim * dim))
    return max(1, heads), rows


class _Heads(NamedTuple):
    """Some heads of all sequences, ``first`` being the number of the first one."""

    call: Call
    heads: HeadSet
    training: TrainingSet
    first: int

    def picked(self, tensor: Tensor, count: int, end: int) -> Tensor:
        """Of (batch or 1, heads or 1, ..., Nk) the ``count`` heads, and the first keys."""
        numbers, heads = (
            torch.arange(self.first, self.first + count, device=tensor.device),
            len(self.heads.members),
        )
        return tensor[numbers // heads % tensor.shape[0], numbers % heads % tensor.shape[1]][..., :end]

    def bias(self, rows: slice, query: Tensor, end: int) -> Tensor | None:
        """What is added to the scores of some queries, (heads, R, end)."""
        found: Tensor | None = None
        if self.training.log_weight is not None:
            found = self.picked(self.training.log_weight, len(query), end).to(query.dtype)
        if self.call.choices.pair_weights.uneven:
            weights = self.picked(self.call.log_weights(self.heads, rows, query), len(query), end)
            found = weights if found is None else found + weights
        return None if found is None else found.expand(-1, query.shape[1], -1)

    def slopes(self, rows: slice, query: Tensor, end: int) -> Slopes:
        """What the kernel knows of some queries beside their tensors."""
        masks, choices = self.training.attendable, self.call.choices
        valid = None
        by_order = masks.keys is None and masks.pairs is None
        if by_order and masks.is_causal and rows.stop - rows.start < end:
            valid = causal_mask(query.shape[1], query.shape[1], query.device)[None]
        elif masks.is_causal or not by_order:
            valid = masks.rows(rows, self.training.query_length, self.training.key.shape[2], query.device)
            valid = self.picked(valid, len(query), end)
        scale = choices.feature_map.score_scale(query.shape[-1])
        assert scale is not None
        ridge = choices.order.ridge if choices.order.least_squares else None
        short = accumulation_dtype(self.call.query.dtype)
        return Slopes(scale, valid, ridge, self.call.dropout_p, short)


def _by_rows(
    part: _Heads, size: int, query: Tensor, key: Tensor, value: Tensor, probe: Tensor | None = None
) -> Tensor:
    """The outputs of some heads by blocks of queries, (heads, Nq, Dv)."""
    outputs, keys = [], key.shape[1]
    for start in range(0, query.shape[1], size):
        rows = slice(start, min(start + size, query.shape[1]))
        end = max(1, rows.stop + keys - query.shape[1]) if part.training.attendable.is_causal else keys
        taken = query[:, rows], key[:, :end], value[:, :end]
        given = None if probe is None else probe[:, rows]
        slopes, bias = part.slopes(rows, query[:, rows], end), part.bias(rows, query[:, rows], end)
        outputs.append(local_linear_attention(*taken, slopes, bias, given))
    return torch.cat(outputs, 1)
