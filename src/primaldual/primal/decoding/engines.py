"""How a problem is decoded: the groups of heads, and what is kept for each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from primaldual.errors import ShapeError, UnsupportedError
from primaldual.primal.decoding.arrival import Arrival, Windows
from primaldual.primal.decoding.features import MOST_FEATURES, FeatureSums
from primaldual.primal.decoding.history import History
from primaldual.primal.decoding.memory import Memory
from primaldual.primal.decoding.pairs import PairStream
from primaldual.primal.decoding.softmax import PairCache
from primaldual.primal.decoding.transforms import Incremental, incremental
from primaldual.primal.head_sets import HeadSet
from primaldual.primal.pooled_heads import PooledHeads
from primaldual.primal.sources import selection
from primaldual.primal.subsets import AllKeys, Subset

if TYPE_CHECKING:
    from primaldual.primal.problem import PrimalProblem


class Engine(Protocol):
    """What is kept of past tokens, and how new ones attend to it; holds no token itself."""

    def places(self, length: int) -> int:
        """Places that so many tokens take in the cached sequences."""

    def start(self, key: Tensor, value: Tensor, capacity: int) -> Memory:
        """The memory of no tokens, for keys and values like (batch, kv heads, 0, D or Dv)."""

    def one(self, query: Tensor, key: Tensor, value: Tensor, memory: Memory, position: int) -> Tensor:
        """The output of the token at a position, above 0, of every row."""

    def many(self, query: Tensor, key: Tensor, value: Tensor, memory: Memory, arrival: Arrival) -> Tensor:
        """The outputs of n tokens of every row."""

    def absorb(self, key: Tensor, value: Tensor, memory: Memory, arrival: Arrival) -> None:
        """Take in n first tokens without attending."""


@dataclass(frozen=True)
class Group:
    """Query heads that are decoded together.

    Attributes:
        engine: how.
        members: the query heads, None = all.
        key_heads: the key heads that are kept for them, None = all.
    """

    engine: Engine
    members: slice | list[int] | None = None
    key_heads: slice | list[int] | None = None

    def queries(self, query: Tensor) -> Tensor:
        """The queries of these heads."""
        return query if self.members is None else query[:, self.members]

    def keys(self, tensor: Tensor) -> Tensor:
        """The keys, or values, that are kept for these heads."""
        return tensor if self.key_heads is None else tensor[:, self.key_heads]


def groups(problem: PrimalProblem, heads: int, kv_heads: int, head_dim: int) -> list[Group]:
    """The groups of heads of a problem, each with the smallest memory that is exact.

    Raises:
        UnsupportedError: a problem that accepts only some lengths.
    """
    head_sets = problem.subset.head_sets(heads)
    if _by_windows(problem.subset):
        found = [_group(problem, head_set, heads, kv_heads, head_dim) for head_set in head_sets]
        offered = [group for group in found if group is not None]
        if len(offered) == len(found):
            return offered
    _try_lengths(problem, heads, kv_heads, head_dim)
    return [Group(History(problem, heads))]


def _by_windows(subset: Subset) -> bool:
    """Whether the training pairs are all keys, or the means of windows in a row, and nothing else."""
    if isinstance(subset, PooledHeads):
        plain = PooledHeads(*subset.scales, prefix=subset.layout.prefix)
        return type(subset) is PooledHeads and subset.spec() == plain.spec()
    return type(subset) is AllKeys


def _group(
    problem: PrimalProblem, head_set: HeadSet, heads: int, kv_heads: int, head_dim: int
) -> Group | None:
    members = head_set.members
    windows = Windows(head_set.scale, head_set.positions.prefix)
    scale = problem.feature_map.score_scale(head_dim)
    softmax = scale is not None and problem.normalizer.cancels_query_factors
    transform = incremental(problem.transform, head_set, not softmax)
    if transform is None:
        return None
    pairs = PairStream(windows, transform, softmax, len(members))
    engine: Engine
    if softmax and scale is not None:
        engine = PairCache(pairs, scale)
    else:
        count, normalize = problem.feature_map.feature_count(head_dim), problem.normalizer.factored
        if count is None or count > MOST_FEATURES or normalize is None:
            return None
        engine = FeatureSums(pairs, problem.feature_map, normalize)
    kept = _kept_heads([head // (heads // kv_heads) for head in members], transform)
    return Group(engine, _part(members, heads), _part(kept, kv_heads))


def _kept_heads(key_heads: list[int], transform: Incremental) -> list[int]:
    """One key head for each query head, or for each group of query heads where all of it is here."""
    different = list(dict.fromkeys(key_heads))
    sharing = len(key_heads) // len(different)
    if transform.own_keys or key_heads != [head for head in different for _ in range(sharing)]:
        return key_heads
    return different


def _part(heads: list[int], count: int) -> slice | list[int] | None:
    return None if heads == list(range(count)) else selection(heads)


def _try_lengths(problem: PrimalProblem, heads: int, kv_heads: int, head_dim: int) -> None:
    """Raise UnsupportedError unless the problem takes sequences of one and of two tokens."""
    parameter = next(problem.parameters(), torch.zeros(()))
    for length in (1, 2):
        query = torch.zeros(1, heads, length, head_dim, dtype=parameter.dtype, device=parameter.device)
        try:
            problem.compute(query, query[:, :kv_heads], query[:, :kv_heads], None, True, 0.0)
        except ShapeError as error:
            raise UnsupportedError(
                f"{problem.spec()} has positions of a fixed number, and no meaning for the first tokens of a sequence "
                f"that is not complete; needed is a problem for any length ({error})"
            ) from error
