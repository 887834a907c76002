"""Padding takes no place: every row of a batch is attended as it would be alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from primaldual.errors import UnsupportedError
from primaldual.integrations.hf_masks import SortedMask
from primaldual.integrations.sites import Attending
from primaldual.primal.batch_normalization import BatchNormalization
from primaldual.primal.chain import Chain
from primaldual.primal.depthwise import DepthwiseConvolution
from primaldual.primal.head_groups import HeadGroups
from primaldual.primal.problem import PrimalProblem
from primaldual.primal.subsets import AllKeys, Window
from primaldual.primal.transforms import Identity, Transform


@dataclass(frozen=True)
class Positions:
    """What a problem takes from the places of its keys.

    Attributes:
        from_start: where a key stands counts (pools, tokens in front).
        from_query: how far it is from the query counts (windows).
        neighbours: which keys stand beside it counts (convolutions).
        mixes_queries: queries count for one another.
    """

    from_start: bool = False
    from_query: bool = False
    neighbours: bool = False
    mixes_queries: bool = False

    @classmethod
    def of(cls, problem: Attending) -> Positions:
        """Read a problem's parts; parts that are not known are taken to count from the start."""
        if isinstance(problem, HeadGroups):
            parts = [cls._of_one(part) for part, _ in problem.problems()]
        else:
            parts = [cls._of_one(problem)]
        return cls(
            any(part.from_start for part in parts),
            any(part.from_query for part in parts),
            any(part.neighbours for part in parts),
            any(part.mixes_queries for part in parts),
        )

    @classmethod
    def _of_one(cls, problem: PrimalProblem) -> Positions:
        transform = problem.transform
        steps: list[Transform] = transform.steps() if isinstance(transform, Chain) else [transform]
        convolutions = [step for step in steps if isinstance(step, DepthwiseConvolution)]
        layout = problem.subset.layout
        lone = layout.prefix or layout.suffix or any(step.prefix for step in convolutions)
        known = all(isinstance(step, Identity | BatchNormalization | DepthwiseConvolution) for step in steps)
        window = isinstance(problem.subset, Window)
        return cls(
            not known or not (window or type(problem.subset) is AllKeys) or bool(convolutions and lone),
            window,
            bool(convolutions),
            transform.mixes_queries,
        )

    @property
    def count(self) -> bool:
        """Whether places count at all."""
        return self.from_start or self.from_query or self.neighbours


@dataclass(frozen=True)
class Arranged:
    """Tensors of one attention in the order that a problem is to see them in.

    Attributes:
        query: (batch, heads, Nq, D).
        key: (batch, kv heads, length, D).
        value: (batch, kv heads, length, Dv).
        mask: bool, broadcastable to (batch, heads, Nq, length); None = all.
        is_causal: as in :meth:`PrimalProblem.attend`.
        queries: long (batch, Nq), the order; None = as they were.
        keys: long (batch, length), the order; None = as they were.
        key_length: keys that there were.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    mask: Tensor | None
    is_causal: bool
    queries: Tensor | None
    keys: Tensor | None
    key_length: int

    def outputs(self, problem: Attending, dropout_p: float) -> Tensor:
        """(batch, heads, Nq, Dv), in the order of the given queries."""
        out = problem.attend(self.query, self.key, self.value, self.mask, self.is_causal, dropout_p)
        return out if self.queries is None else taken(out, self.queries.argsort(dim=-1))

    def weights(self, problem: Attending) -> Tensor:
        """(batch, heads, Nq, Nk), in the order of the given queries and keys."""
        found = problem.attention_map(self.query, self.key, self.mask, self.is_causal)
        if self.queries is not None:
            found = taken(found, self.queries.argsort(dim=-1))
        if self.keys is not None:
            found = pad(found, (0, self.keys.shape[1] - found.shape[-1]))
            found = taken(found.mT, self.keys.argsort(dim=-1)).mT
        return pad(found, (0, self.key_length - found.shape[-1]))


def arrange(
    positions: Positions, query: Tensor, key: Tensor, value: Tensor, found: SortedMask
) -> list[tuple[int | None, Tensor | None, Arranged]]:
    """Cut and order the tensors so that padding takes no place, at once or row by row.

    Returns:
        Triples of a row, the numbers of its queries, and its tensors; (None, None, tensors) for all rows at once.
    """
    key_length, query_length, length = key.shape[2], query.shape[2], found.length
    key, value = key[:, :, :length], value[:, :, :length]
    mask = found.keys if found.pairs is None else found.pairs[..., :length].to(query.device)
    valid = found.valid() if positions.count else None
    queries = keys = None
    if valid is not None and query_length == length:
        queries = keys = found.order()
    elif valid is not None and (found.is_causal or (positions.from_query and positions.from_start)):
        if torch.compiler.is_compiling():
            raise UnsupportedError(
                "a window beside tokens counted from the start cannot be compiled with padded rows in a cache"
            )
        return [_row(row, query, key, value, found, valid, key_length) for row in range(query.shape[0])]
    elif valid is not None and found.pairs is None:
        keys = found.order(last=positions.from_query)
    elif valid is not None and not positions.from_query:
        keys = found.order()
    if keys is not None:
        keys = keys.expand(query.shape[0], -1)
        key, value = taken(key, keys), taken(value, keys)
        assert mask is not None
        mask = taken(mask.expand(query.shape[0], -1, -1, -1).mT, keys).mT
    if queries is not None:
        queries = queries.expand(query.shape[0], -1)
        query = taken(query, queries)
        if mask is not None and mask.shape[2] > 1:
            mask = taken(mask, queries)
    whole = Arranged(query, key, value, mask, found.is_causal, queries, keys, key_length)
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
) -> tuple[int, Tensor, Arranged]:
    """A row of the batch without its padding: queries are the last tokens among the keys."""
    valid = everywhere[row if everywhere.shape[0] > 1 else 0]
    places = valid.nonzero()[:, 0]
    own = valid[found.length - query.shape[2] :] if found.is_causal else valid.new_ones(query.shape[2])
    picked = own.nonzero()[:, 0]
    one = slice(row, row + 1)
    arranged = Arranged(
        query[one, :, picked],
        key[one, :, places],
        value[one, :, places],
        None,
        found.is_causal,
        None,
        torch.cat([places, (~valid).nonzero()[:, 0]])[None],
        key_length,
    )
    return row, picked, arranged
