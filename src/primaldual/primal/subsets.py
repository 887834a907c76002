"""Training subsets: which pairs (k_j, y_j) a query or a head is fitted on."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import ClassVar, NamedTuple, TypeVar

import torch
from torch import Tensor

from primaldual.kernels import dense
from primaldual.kernels.heads import for_query_heads
from primaldual.kernels.layout import SEQUENCE, Layout
from primaldual.kernels.masks import Attendable
from primaldual.primal.decoding.windows import Windows
from primaldual.primal.head_sets import HeadSet
from primaldual.primal.joined_sets import JoinedSet
from primaldual.primal.parts import Part
from primaldual.primal.row_pairs import RowPairs
from primaldual.primal.sources import KeyValueSource, selection
from primaldual.primal.token_inputs import Inputs
from primaldual.primal.training_sets import ALL, OWN, PREFIX, Kind, MaskedPairs, TrainingSet

Scale = TypeVar("Scale", bound=Hashable)


class DensePairs(NamedTuple):
    """Training pairs of every query, by definition.

    Attributes:
        keys: (batch, heads, Nq or 1, Nt, D).
        values: (batch, heads, Nq or 1, Nt, Dv).
        valid: bool (batch, heads, Nq or 1, Nt).
        shares: of the positions in each pair, (batch, heads, Nq or 1, Nt, N); None where pairs are positions.
        log_weight: log of what each pair counts, (batch, heads, Nq or 1, Nt); None = 1 each.
    """

    keys: Tensor
    values: Tensor
    valid: Tensor
    shares: Tensor | None
    log_weight: Tensor | None = None


class Subset(Part):
    """A training subset; the base class states: every attendable pair, for every head.

    A subclass states ``allowed`` (pairs left out by position) or ``membership`` (pairs averaged), which
    is enough; ``training_set`` is the fast form.

    Attributes:
        layout: how positions lie, for what depends on it (pooling, convolution).

    Example:
        >>> from primaldual import PrimalProblem
        >>> class Even(Subset):
        ...     name = "even"
        ...     def allowed(self, query_length, key_length, device):
        ...         return (torch.arange(key_length, device=device) % 2 == 0).expand(query_length, -1)
        >>> key = torch.zeros(1, 1, 4, 2)
        >>> PrimalProblem(subset=Even()).weights(key, key)[0, 0, 0]
        tensor([0.5000, 0.0000, 0.5000, 0.0000])
    """

    choice = "subset"
    layout: Layout = SEQUENCE
    ordered: bool = True
    """Pairs lie in the order of positions, so that each has neighbours."""
    repeatable: bool = False
    """Pairs follow from keys and values by means alone, so that they may be formed for some sequences and heads at a
    time, and again in the backward."""

    @property
    def patterned(self) -> bool:
        """Whether pairs are left out by position."""
        return type(self).allowed is not Subset.allowed

    @property
    def placed(self) -> bool:
        """Whether pairs depend on where among the keys a query stands, beside the causal order."""
        return self.patterned

    def training_kind(self, heads: HeadSet, pairs: bool, is_causal: bool) -> Kind | str:
        """How training keys differ from query to query, or why they are given by their definition alone.

        Args:
            heads: some heads that pool alike.
            pairs: a mask differs from query to query.
            is_causal: queries attend no later key.
        """
        del heads
        if not self.of_positions:
            return f"{self.spec()} defines its pairs by their dense form alone"
        if pairs or self.patterned:
            return Kind(OWN)
        return Kind(PREFIX if is_causal else ALL)

    @property
    def of_positions(self) -> bool:
        """Whether every pair is a position."""
        return type(self).membership is Subset.membership and type(self).dense_pairs is Subset.dense_pairs

    by_feature: bool = False
    """Features of a value count differently in a pair, so that no map of positions gives the outputs."""

    def with_inputs(self, inputs: Inputs) -> Subset:
        """The subset of one call, given what ``token_inputs`` names, of all heads and keys; of most, this one."""
        del inputs
        return self

    @property
    def by_scores(self) -> bool:
        """Whether pairs are chosen by queries and keys, call by call."""
        return False

    def of_call(self, query: Tensor, key: Tensor, attendable: Attendable) -> Subset:
        """The subset of one call, where it is chosen by scores; otherwise this one.

        Args:
            query: (batch, heads, Nq, D).
            key: (batch, kv heads, Nk, D).
            attendable: the masks.
        """
        del query, key, attendable
        return self

    def lay_out(self, layout: Layout) -> None:
        """Say how positions lie."""
        self.layout = layout

    def allowed(self, query_length: int, key_length: int, device: torch.device) -> Tensor | None:
        """Bool (Nq, Nk) or broadcastable to (batch, heads, Nq, Nk): pairs in the subset; None = all."""
        del query_length, key_length, device
        return None

    def head_scales(self, heads: int) -> tuple[int, ...]:
        """Window length of the pooled pairs of each head; 1 = not pooled."""
        return (1,) * heads

    def head_sets(self, heads: int) -> list[HeadSet]:
        """The heads by scale, in order of first appearance."""
        return [
            HeadSet(members, scale, self.layout) for scale, members in group_heads(self.head_scales(heads))
        ]

    def membership(self, heads: HeadSet, allowed: Tensor) -> Tensor | None:
        """Bool (..., Nt, N): which positions each pair is the mean of, as far as they are allowed.

        Args:
            heads: some heads that pool alike.
            allowed: bool, broadcastable to (batch, heads of the set, Nq or 1, N): what may be attended.

        Returns:
            Broadcastable to (batch, heads, Nq or 1, Nt, N); None = every position is a pair.
        """
        del heads, allowed
        return None

    def dense_pairs(self, key: Tensor, value: Tensor, allowed: Tensor, heads: HeadSet) -> DensePairs:
        """The training pairs of every query by definition.

        Args:
            key: (batch, heads of the set, N, D).
            value: (batch, heads of the set, N, Dv).
            allowed: as in :meth:`membership`.
            heads: some heads that pool alike.
        """
        return DensePairs(*dense.training_set(key, value, allowed, self.membership(heads, allowed)))

    def training_set(
        self, source: KeyValueSource, attendable: Attendable, heads: HeadSet, query_length: int
    ) -> TrainingSet:
        """The training set of some heads, of the kind that :meth:`training_kind` says."""
        key, value = source.take(heads.members)
        allowed = self.allowed(query_length, source.length, key.device)
        if allowed is not None:
            attendable = restrict(attendable, allowed)
        attendable = attendable.select(selection(heads.members))
        pairs = MaskedPairs(key, value, query_length, attendable)
        by_head = attendable.pairs is not None and attendable.pairs.shape[1] > 1
        return pairs.for_query_heads(len(heads.members)) if by_head else pairs

    def row_pairs(
        self, source: KeyValueSource, attendable: Attendable, heads: HeadSet, query_length: int
    ) -> RowPairs | JoinedSet:
        """The pairs of some heads as every query forms them of what it may attend, whatever their kind."""
        key, value = (for_query_heads(part, len(heads.members)) for part in source.take(heads.members))
        pattern = self.allowed(query_length, source.length, key.device)
        if pattern is not None:
            attendable = restrict(attendable, pattern)
        attendable = attendable.select(selection(heads.members))
        return RowPairs(key, value, query_length, attendable, reach=self.reach)

    facts: ClassVar[dict[str, tuple[str, ...]]] = {
        "shift_equivariant": ("allowed", "membership", "dense_pairs"),
        "windows": ("allowed", "membership", "dense_pairs"),
        "means_of_windows": ("allowed", "membership", "dense_pairs"),
        "unbroken": ("allowed", "membership", "dense_pairs"),
        "reach": ("allowed", "membership", "dense_pairs"),
        "consecutive_from": ("allowed", "membership", "dense_pairs"),
        "training_kind": ("membership", "dense_pairs"),
        "training_set": ("allowed", "membership", "dense_pairs"),
    }

    def for_length(self, key_length: int) -> Subset:
        """A subset with the same pairs for every query that may attend at most this number of keys; usually this one."""
        del key_length
        return self

    def without_pattern(self) -> Subset:
        """The subset, or all keys in its place where it leaves out pairs by position."""
        if not self.patterned:
            return self
        return Subset().knowing(layout=self.layout)

    def pools(self, heads: int) -> bool:
        """Whether some of the heads are fitted on pooled pairs."""
        return any(scale != 1 for scale in self.head_scales(heads))

    def anchor_at(self, slopes: Tensor) -> None:
        """Make pooled pairs exact at a typical query of every head, in a subset whose pairs have such an anchor.

        Args:
            slopes: (heads, D), that query times the scale of the scores.
        """
        del slopes

    def pool_from(self, length: int) -> bool:
        """Leave sequences of fewer keys than ``length`` unpooled, in a subset that can; whether it can."""
        del length
        return False

    @property
    def shift_equivariant(self) -> bool:
        """Whether pairs depend on positions only through their distances to the query."""
        return False

    @property
    def reach(self) -> int | None:
        """How many keys before its own a query sees at most, chosen by their distance alone; None = any."""
        return None

    @property
    def unbroken(self) -> bool:
        """Whether a causal query sees every key within its reach, by itself."""
        return False

    @property
    def from_query(self) -> bool:
        """Whether pairs depend on their distance from the query."""
        return self.reach is not None

    def consecutive_from(self, heads: HeadSet) -> int | None:
        """The position from which on consecutive windows are pooled, those before being pairs by themselves; or None."""
        del heads
        return None

    def with_heads(self, heads: HeadSet) -> list[tuple[Subset, HeadSet]]:
        """The subsets whose pairs these are together, each with the heads as it knows them; of most, it alone."""
        return [(self, heads)]

    def windows(self, heads: HeadSet) -> Windows | None:
        """The consecutive windows whose means are the training pairs of some heads; None = they are not that."""
        del heads
        return None

    def means_of_windows(self, heads: HeadSet) -> bool:
        """Whether the training pairs of some heads are the means over all windows of their layout, counted once each."""
        del heads
        return False


class AllKeys(Subset):
    """Every key that the mask allows.

    Example:
        >>> from primaldual import preset
        >>> type(preset("bn").subset).__name__
        'AllKeys'
    """

    name = ""
    repeatable = True

    @property
    def shift_equivariant(self) -> bool:
        return True

    def windows(self, heads: HeadSet) -> Windows:
        return Windows()

    def means_of_windows(self, heads: HeadSet) -> bool:
        return heads.scale == 1


EVERY_KEY: Subset = AllKeys()
"""What subsets stand back for that leave short sequences as they are."""


def group_heads(scales: Sequence[Scale]) -> list[tuple[Scale, list[int]]]:
    """Heads by scale, in order of first appearance.

    Example:
        >>> group_heads((1, 2, 1))
        [(1, [0, 2]), (2, [1])]
    """
    if scales and scales.count(scales[0]) == len(scales):
        return [(scales[0], list(range(len(scales))))]
    groups: dict[Scale, list[int]] = {}
    for head, scale in enumerate(scales):
        groups.setdefault(scale, []).append(head)
    return list(groups.items())


def restrict(attendable: Attendable, allowed: Tensor) -> Attendable:
    """Add a pattern of pairs to what may be attended."""
    pattern = allowed[(None,) * (4 - allowed.dim())]
    pairs = pattern if attendable.pairs is None else attendable.pairs & pattern
    return Attendable(attendable.keys, pairs, attendable.is_causal)
