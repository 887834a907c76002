"""How the heads of a problem are decoded: those whose training pairs are pooled alike together."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from primaldual.errors import ShapeError, UnsupportedError
from primaldual.primal.decoding.decodable import DecodableProblem
from primaldual.primal.decoding.decoder import Decoder
from primaldual.primal.decoding.delta_sums import DeltaSums
from primaldual.primal.decoding.feature_sums import MOST_FEATURES, FeatureSums
from primaldual.primal.decoding.history import History
from primaldual.primal.decoding.memory import Memory
from primaldual.primal.decoding.nested_history import NestedHistory
from primaldual.primal.decoding.pair_cache import PairCache
from primaldual.primal.decoding.pair_stream import PairStream
from primaldual.primal.decoding.ridge_sums import RidgeSums
from primaldual.primal.decoding.sizes import Sizes
from primaldual.primal.decoding.windows import Windows
from primaldual.primal.head_sets import HeadSet
from primaldual.primal.nested_solvers import NestedSolver
from primaldual.primal.sources import selection
from primaldual.primal.token_inputs import neutral_inputs


@dataclass(frozen=True)
class HeadDecoder:
    """Query heads that are decoded together.

    Attributes:
        decoder: how.
        members: the query heads, None = all.
        key_heads: the key heads that are kept for them, None = all.
    """

    decoder: Decoder
    members: slice | list[int] | None = None
    key_heads: slice | list[int] | None = None

    def of(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The queries of these heads, and the keys and values that are kept for them."""
        if self.members is not None:
            query = query[:, self.members]
        if self.key_heads is not None:
            key, value = key[:, self.key_heads], value[:, self.key_heads]
        return query, key, value

    def start(self, sizes: Sizes, capacity: int) -> Memory:
        """A memory without tokens, with room for ``capacity`` of them."""
        batch, heads, kv_heads, head_dim, value_dim, dtype, device = sizes
        query = torch.empty(batch, heads, 0, head_dim, dtype=dtype, device=device)
        key, value = query[:, :kv_heads], query.new_empty(batch, kv_heads, 0, value_dim)
        return self.decoder.start(*self.of(query, key, value), capacity)


def head_decoders(problem: DecodableProblem, sizes: Sizes, croppable: bool = False) -> list[HeadDecoder]:
    """The decoders of all heads, each with the smallest memory that is exact, or with every token.

    Raises:
        UnsupportedError: a problem that accepts only some lengths.
    """
    if not croppable and not problem.parts().solver.composed:
        sets = problem.parts().subset.head_sets(sizes.heads)
        found = [_incremental(problem, heads, sizes) for heads in sets]
        exact = [decoder for decoder in found if decoder is not None]
        if len(exact) == len(found):
            return exact
    _check_lengths(problem, sizes)
    solver = problem.parts().solver
    if isinstance(solver, NestedSolver):
        return [HeadDecoder(_nested(problem, solver, sizes, croppable))]
    return [HeadDecoder(History(problem, croppable or solver.at_keys))]


def _nested(problem: DecodableProblem, solver: NestedSolver, sizes: Sizes, croppable: bool) -> Decoder:
    """The weights of a delta rule on features, or keys and coefficients."""
    choices = problem.parts()
    subset = choices.subset
    count = choices.feature_map.feature_count(sizes.head_dim)
    plain = choices.untransformed and subset.windows(subset.head_sets(sizes.heads)[0]) == Windows()
    few = count is not None and count <= MOST_FEATURES and not (choices.pair_weights.uneven or croppable)
    if solver.delta_rule and plain and few:
        return DeltaSums(choices.feature_map, solver)
    return NestedHistory(problem, solver)


def _incremental(problem: DecodableProblem, heads: HeadSet, sizes: Sizes) -> HeadDecoder | None:
    """The decoder of some heads that keeps pairs or sums; None if the problem has none."""
    choices = problem.parts()
    feature_map, normalizer, transform, subset, solver = (
        choices.feature_map, choices.normalizer, choices.transform, choices.subset, choices.solver,
    )  # fmt: skip
    if choices.pair_weights.uneven or choices.order.linear or problem.token_inputs:
        return None
    windows = subset.windows(heads)
    if windows is None:
        return None
    score_scale = choices.softmax_scale(sizes.head_dim)
    softmax = score_scale is not None
    incremental = transform.incremental(heads, not softmax)
    if incremental is None:
        return None
    stream = PairStream(windows, incremental, softmax)
    decoder: Decoder
    if score_scale is not None:
        decoder = PairCache(stream, score_scale)
    else:
        count, normalize = feature_map.feature_count(sizes.head_dim), normalizer.factored
        if count is None or count > MOST_FEATURES or normalize is None:
            return None
        if solver.amortized:
            decoder = FeatureSums(stream, feature_map, normalize)
        elif solver.ridge_penalty and windows.size == 1:
            decoder = RidgeSums(stream, feature_map, solver.ridge_penalty)
        else:
            return None
    key_heads = [head // (sizes.heads // sizes.kv_heads) for head in heads.members]
    if not incremental.own_keys:
        key_heads = _shared(key_heads)
    return HeadDecoder(decoder, _some(heads.members, sizes.heads), _some(key_heads, sizes.kv_heads))


def _shared(key_heads: list[int]) -> list[int]:
    """Each key head once, where equally many of these query heads in a row share it."""
    different = list(dict.fromkeys(key_heads))
    sharing = len(key_heads) // len(different)
    return different if key_heads == [head for head in different for _ in range(sharing)] else key_heads


def _some(heads: list[int], count: int) -> slice | list[int] | None:
    return None if heads == list(range(count)) else selection(heads)


def _check_lengths(problem: DecodableProblem, sizes: Sizes) -> None:
    """Raise UnsupportedError unless the problem takes sequences of one and of two tokens."""
    parameter = next(problem.parameters(), torch.zeros(()))
    for length in (1, 2):
        query = torch.zeros(
            1, sizes.heads, length, sizes.head_dim, dtype=parameter.dtype, device=parameter.device
        )
        key = query[:, : sizes.kv_heads]
        try:
            inputs = neutral_inputs(problem.token_inputs, query, length, sizes.head_dim)
            problem.compute(query, key, key, is_causal=True, inputs=inputs)
        except ShapeError as error:
            raise UnsupportedError(
                f"{problem.spec()} requires a fixed length and cannot be decoded step by step; "
                f"got a first step of {length} token{'s' * (length > 1)}: {error}"
            ) from error
