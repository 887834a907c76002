"""How an attention depends on the positions of its keys."""

from __future__ import annotations

from dataclasses import dataclass

from primaldual.errors import UnsupportedError
from primaldual.primal.attention import Attention
from primaldual.primal.choices import Choices
from primaldual.primal.solvers import QUERIES


@dataclass(frozen=True)
class PositionDependence:
    """How an attention depends on the positions of its keys.

    Attributes:
        from_start: on a key's distance from the start (pools, tokens in front).
        from_query: on its distance from the query (windows, weights by distance).
        neighbours: on the keys beside it (convolutions).
        mixes_queries: queries depend on one another.
        nested: what a solver computes of a key follows from the keys before it.
    """

    from_start: bool = False
    from_query: bool = False
    neighbours: bool = False
    mixes_queries: bool = False
    nested: bool = False

    @classmethod
    def of(cls, attention: Attention, heads: int) -> PositionDependence:
        """What the parts state; a part that states nothing is taken to depend on the distance from the start."""
        parts = [cls._of_one(problem.parts()) for problem, _ in attention.problems(heads)]
        return cls(
            any(part.from_start for part in parts),
            any(part.from_query for part in parts),
            any(part.neighbours for part in parts),
            any(part.mixes_queries for part in parts),
            any(part.nested for part in parts),
        )

    @classmethod
    def _of_one(cls, parts: Choices) -> PositionDependence:
        transform, subset, solver = parts.transform, parts.subset, parts.solver
        lone = subset.layout.prefix or subset.layout.suffix
        return cls(
            from_start=not (transform.shift_equivariant and subset.shift_equivariant)
            or bool(transform.neighbours and lone),
            from_query=subset.from_query or parts.pair_weights.uneven,
            neighbours=transform.neighbours,
            mixes_queries=transform.mixes_queries or (solver.at_keys and solver.residual == QUERIES),
            nested=solver.at_keys,
        )

    @property
    def count(self) -> bool:
        """Whether positions matter at all."""
        return self.from_start or self.from_query or self.neighbours

    @property
    def counted_in_a_sequence(self) -> bool:
        """Whether it matters where in its own sequence a key or query stands, and not only how far apart they are."""
        return self.from_start or self.neighbours or self.mixes_queries

    @property
    def within_a_sequence(self) -> bool:
        """Whether it is meaningless in cross-attention, where queries stand among no keys."""
        return self.from_query or self.mixes_queries


def check_cross_attention(attention: Attention, heads: int) -> None:
    """Refuse an attention that needs queries among the keys, for a layer that attends another sequence.

    Raises:
        UnsupportedError: a window, or queries that are mixed.
    """
    if PositionDependence.of(attention, heads).within_a_sequence:
        raise UnsupportedError(
            f"the layer attends the keys of another sequence, where {attention.spec()!r} is undefined; leave the "
            "layer out with layers="
        )


def check_lengths(
    attention: Attention, positions: PositionDependence, query_length: int, length: int, is_causal: bool
) -> None:
    """Refuse queries that do not stand where the attention needs them.

    Args:
        attention: for the message.
        positions: of the attention.
        query_length: Nq.
        length: Nk.
        is_causal: the queries are the last positions of the keys' sequence.

    Raises:
        UnsupportedError: a window between two sequences; mixed queries or a nested solver, of which only the last
            queries are given.
    """
    if query_length == length:
        return
    if (positions.mixes_queries or positions.nested) and is_causal:
        raise UnsupportedError(
            f"{attention.spec()} combines positions and needs the whole sequence; got {query_length} queries and "
            f"{length} keys: generate with use_cache=False"
        )
    if positions.from_query and not is_causal:
        raise UnsupportedError(
            f"{attention.spec()} needs queries that stand among the keys; got {query_length} queries of one "
            f"sequence and {length} keys of another"
        )
