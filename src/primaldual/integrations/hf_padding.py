"""Padding is skipped and does not advance positions: every row of a batch gets the outputs that it gets alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from primaldual.errors import UnsupportedError
from primaldual.integrations.hf_masks import SortedMask
from primaldual.integrations.position_dependence import PositionDependence
from primaldual.kernels.modes import in_graph
from primaldual.primal.attention import Attention
from primaldual.primal.token_inputs import Inputs, with_values


@dataclass(frozen=True)
class Arranged:
    """The tensors of one attention, in the order in which the problem reads them.

    Attributes:
        query: (batch, heads, Nq, D).
        key: (batch, kv heads, length, D).
        value: (batch, kv heads, length, Dv).
        mask: bool, broadcastable to (batch, heads, Nq, length); None = all.
        is_causal: as in :meth:`PrimalProblem.attend`.
        queries: long (batch, Nq), the order; None = unchanged.
        keys: long (batch, length), the order; None = unchanged.
        key_length: number of keys given.
        inputs: what the problem needs of every key besides, (batch, heads or kv heads, length, width); None = nothing.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    mask: Tensor | None
    is_causal: bool
    queries: Tensor | None
    keys: Tensor | None
    key_length: int
    inputs: Inputs | None

    def outputs(self, problem: Attention, dropout_p: float) -> Tensor:
        """(batch, heads, Nq, Dv), in the order of the given queries."""
        out = problem.attend(
            self.query, self.key, self.value, self.mask, self.is_causal, dropout_p, inputs=self.inputs
        )
        return out if self.queries is None else taken(out, self.queries.argsort(dim=-1))

    def weights(self, problem: Attention) -> Tensor:
        """(batch, heads, Nq, Nk), in the order of the given queries and keys."""
        inputs = with_values(problem.token_inputs, self.inputs, self.query.shape[1], self.value)
        found = problem.attention_map(self.query, self.key, self.mask, self.is_causal, inputs=inputs)
        if self.queries is not None:
            found = taken(found, self.queries.argsort(dim=-1))
        if self.keys is not None:
            found = pad(found, (0, self.keys.shape[1] - found.shape[-1]))
            found = taken(found.mT, self.keys.argsort(dim=-1)).mT
        return pad(found, (0, self.key_length - found.shape[-1]))


def arrange(
    positions: PositionDependence,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    found: SortedMask,
    inputs: Inputs | None = None,
) -> list[tuple[int | None, Tensor | None, Arranged]]:
    """Cut and order the tensors so that padding does not advance positions, at once or piece by piece.

    Returns:
        Triples of a row, the numbers of some of its queries, and their tensors; (None, None, tensors) for all rows
        at once.
    """
    packed = found.documents() if positions.counted_in_a_sequence else None
    if packed is not None:
        return _documents(*packed, query, key, value, inputs)
    key_length, query_length, length = key.shape[2], query.shape[2], found.length
    key, value = key[:, :, :length], value[:, :, :length]
    inputs = _each(inputs, lambda given: given[:, :, :length])
    mask = found.keys if found.pairs is None else found.pairs[..., :length].to(query.device)
    valid = found.valid() if positions.count else None
    queries = keys = None
    if valid is not None and query_length == length:
        queries = keys = found.order()
    elif valid is not None and (found.is_causal or (positions.from_query and positions.from_start)):
        if in_graph():
            raise UnsupportedError(
                "a window beside tokens counted from the start cannot be compiled with padded rows in a cache"
            )
        return [
            _row(row, query, key, value, found, valid, key_length, inputs) for row in range(query.shape[0])
        ]
    elif valid is not None and found.pairs is None:
        keys = found.order(last=positions.from_query)
    elif valid is not None and not positions.from_query:
        keys = found.order()
    if keys is not None:
        keys = keys.expand(query.shape[0], -1)
        key, value = taken(key, keys), taken(value, keys)
        order = keys
        inputs = _each(inputs, lambda given: taken(given, order))
        assert mask is not None
        mask = taken(mask.expand(query.shape[0], -1, -1, -1).mT, keys).mT
    if queries is not None:
        queries = queries.expand(query.shape[0], -1)
        query = taken(query, queries)
        if mask is not None and mask.shape[2] > 1:
            mask = taken(mask, queries)
    whole = Arranged(query, key, value, mask, found.is_causal, queries, keys, key_length, inputs)
    return [(None, None, whole)]


def taken(tensor: Tensor, order: Tensor) -> Tensor:
    """Rows of (batch, heads, n, D) in the order (batch, n)."""
    return tensor.gather(2, order[:, None, :, None].expand(-1, tensor.shape[1], -1, tensor.shape[3]))


def _row(
    row: int,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    found: SortedMask,
    everywhere: Tensor,
    key_length: int,
    inputs: Inputs | None,
) -> tuple[int, Tensor, Arranged]:
    """A row of the batch without its padding: queries are the last tokens among the keys."""
    valid = everywhere[row if everywhere.shape[0] > 1 else 0]
    own = valid[found.length - query.shape[2] :] if found.is_causal else valid.new_ones(query.shape[2])
    return _piece(row, own, valid, query, key, value, found.is_causal, key_length, inputs)


def _documents(
    numbers: Tensor, is_causal: bool, query: Tensor, key: Tensor, value: Tensor, inputs: Inputs | None
) -> list[tuple[int | None, Tensor | None, Arranged]]:
    """Every document of every row by itself."""
    pieces: list[tuple[int | None, Tensor | None, Arranged]] = []
    for row in range(query.shape[0]):
        own = numbers[row if numbers.shape[0] > 1 else 0]
        for number in range(1, int(own.max()) + 1):
            members = own == number
            pieces.append(_piece(row, members, members, query, key, value, is_causal, key.shape[2], inputs))
    return pieces


def _piece(
    row: int,
    queries: Tensor,
    keys: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    is_causal: bool,
    key_length: int,
    inputs: Inputs | None,
) -> tuple[int, Tensor, Arranged]:
    """Some queries and keys of a row, chosen by bool (Nq,) and (length,)."""
    picked, places, one = queries.nonzero()[:, 0], keys.nonzero()[:, 0], slice(row, row + 1)
    arranged = Arranged(
        query[one, :, picked],
        key[one, :, places],
        value[one, :, places],
        None,
        is_causal,
        None,
        torch.cat([places, (~keys).nonzero()[:, 0]])[None],
        key_length,
        _each(inputs, lambda given: given[one, :, places]),
    )
    return row, picked, arranged


def _each(inputs: Inputs | None, change: Callable[[Tensor], Tensor]) -> Inputs | None:
    return None if inputs is None else {name: change(given) for name, given in inputs.items()}
