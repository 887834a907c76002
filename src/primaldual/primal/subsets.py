"""Training subsets: which pairs (k_j, y_j) a query or a head is fitted on."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import ClassVar, NamedTuple, TypeVar

import torch
from torch import Tensor

from primaldual.errors import ArgumentError, ShapeError
from primaldual.kernels import dense
from primaldual.kernels.arguments import whole
from primaldual.kernels.heads import for_query_heads
from primaldual.kernels.layout import SEQUENCE, Layout
from primaldual.kernels.masks import Attendable, band_mask
from primaldual.primal.decoding.windows import Windows
from primaldual.primal.head_sets import HeadSet
from primaldual.primal.joined_sets import JoinedSet
from primaldual.primal.parts import Part
from primaldual.primal.row_pairs import RowPairs
from primaldual.primal.sources import KeyValueSource, selection
from primaldual.primal.training_sets import ALL, OWN, PREFIX, Band, Kind, MaskedPairs, TrainingSet

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

    def training_kind(self, heads: HeadSet, pairs: bool, is_causal: bool) -> Kind | str:
        """How training keys differ from query to query, or why they are given by their definition alone.

        Args:
            heads: some heads that pool alike.
            pairs: a mask differs from query to query.
            is_causal: queries attend no later key.
        """
        del heads
        if type(self).membership is not Subset.membership or type(self).dense_pairs is not Subset.dense_pairs:
            return f"{self.spec()} defines its pairs by their dense form alone"
        if pairs or self.patterned:
            return Kind(OWN)
        return Kind(PREFIX if is_causal else ALL)

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
        return MaskedPairs(key, value, query_length, attendable.select(selection(heads.members)))

    def row_pairs(
        self, source: KeyValueSource, attendable: Attendable, heads: HeadSet, query_length: int
    ) -> RowPairs | JoinedSet:
        """The pairs of some heads as every query forms them of what it may attend, whatever their kind."""
        key, value = (for_query_heads(part, len(heads.members)) for part in source.take(heads.members))
        pattern = self.allowed(query_length, source.length, key.device)
        if pattern is not None:
            attendable = restrict(attendable, pattern)
        attendable = attendable.select(selection(heads.members))
        allowed = attendable.matrix(query_length, source.length, key.device)
        return RowPairs(key, value, query_length, Attendable(pairs=allowed))

    facts: ClassVar[dict[str, tuple[str, ...]]] = {
        "shift_equivariant": ("allowed", "membership", "dense_pairs"),
        "windows": ("allowed", "membership", "dense_pairs"),
        "reach": ("allowed", "membership", "dense_pairs"),
        "consecutive_from": ("allowed", "membership", "dense_pairs"),
        "training_kind": ("membership", "dense_pairs"),
        "training_set": ("allowed", "membership", "dense_pairs"),
    }

    def without_pattern(self) -> Subset:
        """The subset, or all keys in its place where it leaves out pairs by position."""
        if not self.patterned:
            return self
        everything = Subset()
        everything.layout = self.layout
        return everything

    def pools(self, heads: int) -> bool:
        """Whether some of the heads are fitted on pooled pairs."""
        return any(scale != 1 for scale in self.head_scales(heads))

    def anchor_at(self, slopes: Tensor) -> None:
        """Make pooled pairs exact at a typical query of every head, in a subset whose pairs have such an anchor.

        Args:
            slopes: (heads, D), that query times the scale of the scores.
        """
        del slopes

    @property
    def shift_equivariant(self) -> bool:
        """Whether pairs depend on positions only through their distances to the query."""
        return False

    @property
    def reach(self) -> int | None:
        """How many keys before its own a query sees at most, chosen by their distance alone; None = any."""
        return None

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


class AllKeys(Subset):
    """Every key that the mask allows."""

    name = ""
    repeatable = True

    @property
    def shift_equivariant(self) -> bool:
        return True

    def windows(self, heads: HeadSet) -> Windows:
        return Windows()


class Window(Subset):
    """Keys at most ``radius`` positions away; with causal masking, the ``radius`` before and the query's own.

    Args:
        radius: positions to each side, 0 or more.

    Raises:
        ArgumentError: a negative or fractional radius.
    """

    name = "window"
    summary = "keys at most `radius` positions away"
    cost = "O(N radius), memory too"
    examples = ("window(3)",)

    def __init__(self, radius: int) -> None:
        super().__init__()
        self.radius = whole("radius", radius)

    def arguments(self) -> tuple[object, ...]:
        return (self.radius,)

    def allowed(self, query_length: int, key_length: int, device: torch.device) -> Tensor:
        return band_mask(query_length, key_length, self.radius, device)

    def training_set(
        self, source: KeyValueSource, attendable: Attendable, heads: HeadSet, query_length: int
    ) -> TrainingSet:
        if attendable.pairs is not None:
            return super().training_set(source, attendable, heads, query_length)
        attendable = attendable.select(selection(heads.members))
        if query_length == 1 and source.length <= self.radius + 1:
            return MaskedPairs(*source.take(heads.members), query_length, attendable)
        return Band(*source.take(heads.members), query_length, attendable, self.radius)

    def formula(self, style: str) -> list[str]:
        if style == "latex":
            return [rf"\text{{query }} i \text{{ is fitted on the keys }} |i - j| \le {self.radius}"]
        return [f"query i is fitted on the keys with |i − j| ≤ {self.radius}"]

    @property
    def shift_equivariant(self) -> bool:
        return True

    @property
    def reach(self) -> int:
        return self.radius


class MaskedKeys(Subset):
    """A fixed sparse pattern: query i is fitted on the keys j with ``mask[..., i, j]``.

    Args:
        mask: bool (Nq, Nk), (heads, Nq, Nk) or (batch, heads, Nq, Nk); True = in the subset.

    Raises:
        ArgumentError: the mask is not a bool tensor with 2 to 4 dimensions.
    """

    name = "masked"

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool or not 2 <= mask.dim() <= 4:
            raise ArgumentError(
                "mask must be a bool tensor (Nq, Nk), (heads, Nq, Nk) or (batch, heads, Nq, Nk)"
            )
        self.mask: Tensor
        self.register_buffer("mask", mask)

    def keep_heads(self, members: list[int], heads: int) -> None:
        if self.mask.dim() > 2 and self.mask.shape[-3] == heads:
            self.mask = self.mask[..., members, :, :]

    @property
    def fixed_heads(self) -> int | None:
        heads = self.mask.shape[-3] if self.mask.dim() > 2 else 1
        return heads if heads > 1 else None

    def spec(self) -> str:
        return f"masked({'x'.join(map(str, self.mask.shape))})"

    def allowed(self, query_length: int, key_length: int, device: torch.device) -> Tensor:
        if self.mask.shape[-2:] != (query_length, key_length):
            raise ShapeError(
                f"masked keys were given for (Nq, Nk) = {tuple(self.mask.shape[-2:])}; got {(query_length, key_length)}"
            )
        return self.mask.to(device)

    def formula(self, style: str) -> list[str]:
        return (
            [r"\text{query } i \text{ is fitted on the keys of its row of a fixed mask}"]
            if style == "latex"
            else ["query i is fitted on the keys of its row of a fixed mask"]
        )


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
