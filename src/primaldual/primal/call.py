"""One call of an attention: its parts and its tensors."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from primaldual.kernels.masks import Attendable
from primaldual.kernels.statistics import accumulation_dtype
from primaldual.primal.choices import Choices
from primaldual.primal.head_sets import HeadSet
from primaldual.primal.joined_sets import JoinedSet
from primaldual.primal.row_pairs import RowPairs
from primaldual.primal.sources import KeyValueSource, pick
from primaldual.primal.token_inputs import Inputs, of_queries
from primaldual.primal.training_sets import TrainingSet


class Call(NamedTuple):
    """What a form computes an attention from.

    Attributes:
        choices: the parts.
        query: (batch, heads, Nq, D) of all heads, mixed where T mixes queries.
        source: keys and values.
        attendable: the masks.
        dropout_p: probability of dropping a weight.
        inputs: what the parts need of every token, by name.
    """

    choices: Choices
    query: Tensor
    source: KeyValueSource
    attendable: Attendable
    dropout_p: float
    inputs: Inputs

    @property
    def scale(self) -> float:
        """The factor on the scores of a softmax attention."""
        scale = self.choices.softmax_scale(self.query.shape[-1])
        assert scale is not None
        return scale

    def queries(self, heads: HeadSet) -> Tensor:
        """The queries of some heads."""
        return self.query if len(heads.members) == self.query.shape[1] else pick(self.query, heads.members)

    def inputs_of(self, rows: slice) -> Inputs:
        """The inputs of all keys and some queries."""
        return of_queries(self.choices.token_inputs, self.inputs, rows) if self.inputs else {}

    def log_weights(self, heads: HeadSet, rows: slice, like: Tensor) -> Tensor:
        """What the pairs of some queries count, see :meth:`PairWeights.log_weights`.

        Args:
            heads: which heads.
            rows: numbers of the queries.
            like: gives the device, and the type if that is float32 or wider.
        """
        count, length = self.query.shape[1:3]
        wide = accumulation_dtype(like.dtype)
        keys = torch.arange(self.source.length, dtype=wide, device=like.device)
        queries = torch.arange(rows.start, rows.stop, dtype=wide, device=like.device)
        queries = queries + self.source.length - length
        return self.choices.pair_weights.log_weights(heads, count, queries, keys, self.inputs)

    def training_set(self, heads: HeadSet) -> TrainingSet:
        """The training pairs of some heads."""
        return self.choices.subset.training_set(self.source, self.attendable, heads, self.query.shape[2])

    def row_pairs(self, heads: HeadSet) -> RowPairs | JoinedSet:
        """The same as every query forms them."""
        pairs = self.choices.subset.row_pairs(self.source, self.attendable, heads, self.query.shape[2])
        if not self.choices.pair_weights.uneven:
            return pairs
        return pairs.weighted_by(partial(self.log_weights, heads))
