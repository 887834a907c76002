"""Unions of training sets: a multiset of pairs, such as a window of single keys and pooled pairs of all."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from functools import reduce
from typing import Self, cast

import torch
from torch import Tensor, nn

from primaldual.errors import ArgumentError
from primaldual.kernels.arguments import flag
from primaldual.kernels.layout import Layout
from primaldual.kernels.masks import Attendable
from primaldual.kernels.modes import in_graph
from primaldual.kernels.row_scores import joined
from primaldual.kernels.window import window_counts
from primaldual.primal.head_sets import HeadSet
from primaldual.primal.joined_sets import JoinedSet
from primaldual.primal.row_pairs import RowPairs
from primaldual.primal.sources import KeyValueSource, RememberedSource
from primaldual.primal.subsets import DensePairs, Subset, group_heads
from primaldual.primal.token_inputs import Inputs, TokenInput, joined_needs
from primaldual.primal.training_sets import ALL, OWN, Kind, TrainingSet
from primaldual.primal.unfinished_windows import covered, covered_within, last_attended, window_ends


@dataclass(frozen=True)
class HeadsOfUnion(HeadSet):
    """Heads whose pairs are pooled alike in every subset of a union.

    Attributes:
        scales: the window length in each.
    """

    scales: tuple[int, ...] = ()

    def pairs(self, length: int) -> int:
        return sum(self.positions.windows(length, scale) for scale in self.scales)


class Union(Subset):
    """The pairs of several subsets together; a pair that several of them hold counts once for each.

        A(q) = sum_p sum_(j in S_p) kappa(q, k_j) v_j / sum_p sum_(j in S_p) kappa(q, k_j)

    T and its statistics are taken over all pairs. A window of pooled positions that is not yet complete, because
    positions after the last one that a query may attend belong to it, is left out where another subset
    holds all of its members as single keys; so, under a causal mask, ``window(128)|sh(64)`` has complete
    windows only.

    Args:
        subsets: two or more.
        disjoint: a position counts in the first subset that holds it alone.

    Raises:
        ArgumentError: fewer than two subsets, or something else.

    Example:
        >>> from primaldual import PooledHeads, PrimalProblem, Window
        >>> PrimalProblem(subset=Union(Window(8), PooledHeads(4))).spec()
        'window(8)|sh(4)'
    """

    name = "union"
    ordered = False

    def __init__(self, *subsets: Subset, disjoint: bool = False) -> None:
        super().__init__()
        for subset in subsets:
            if not isinstance(subset, Subset) or isinstance(subset, Union):
                raise ArgumentError(f"subsets must be Subsets, no unions; got {type(subset).__name__}")
        if len(subsets) < 2:
            raise ArgumentError(f"subsets must be two or more; got {len(subsets)}")
        self.disjoint = flag("disjoint", disjoint)
        self.by_feature = any(part.by_feature for part in subsets)
        self.subsets = nn.ModuleList(subsets)
        self.layout = next((part.layout for part in subsets if part.layout != self.layout), self.layout)

    def parts(self) -> list[Subset]:
        """The subsets."""
        return cast("list[Subset]", list(self.subsets))

    @property
    def token_inputs(self) -> tuple[TokenInput, ...]:
        return joined_needs(self.parts())

    def spec(self) -> str:
        words = [part.spec() or "sh(1)" for part in self.parts()]
        return "|".join([*words, "disjoint=true"] if self.disjoint else words)

    def formula(self, style: str) -> list[str]:
        lines = [line for part in self.parts() for line in part.formula(style)]
        how = "each position in the first that holds it" if self.disjoint else "together"
        return [*lines, rf"\text{{{how}}}" if style == "latex" else how]

    def lay_out(self, layout: Layout) -> None:
        super().lay_out(layout)
        for part in self.parts():
            part.lay_out(layout)

    def bind(self, heads: int, head_dim: int) -> Self:
        for part in self.parts():
            part.bind(heads, head_dim)
        return self

    @property
    def by_scores(self) -> bool:
        return any(part.by_scores for part in self.parts())

    def of_call(self, query: Tensor, key: Tensor, attendable: Attendable) -> Subset:
        return self.knowing(
            subsets=nn.ModuleList(part.of_call(query, key, attendable) for part in self.parts())
        )

    def with_inputs(self, inputs: Inputs) -> Subset:
        bound = [part.with_inputs(inputs) for part in self.parts()]
        if all(one is other for one, other in zip(bound, self.parts(), strict=True)):
            return self
        return self.knowing(subsets=nn.ModuleList(bound))

    def keep_heads(self, members: list[int], heads: int) -> None:
        for part in self.parts():
            part.keep_heads(members, heads)

    @property
    def fixed_heads(self) -> int | None:
        return next(filter(None, (part.fixed_heads for part in self.parts())), None)

    def head_scales(self, heads: int) -> tuple[int, ...]:
        """The largest window length of each head."""
        return tuple(map(max, self._scales(heads)))

    def _scales(self, heads: int) -> list[tuple[int, ...]]:
        return list(zip(*(part.head_scales(heads) for part in self.parts()), strict=True))

    def head_sets(self, heads: int) -> list[HeadSet]:
        return [
            HeadsOfUnion(members, max(scales), self.layout, scales)
            for scales, members in group_heads(self._scales(heads))
        ]

    @property
    def patterned(self) -> bool:
        return any(part.patterned for part in self.parts())

    @property
    def placed(self) -> bool:
        return any(part.placed for part in self.parts())

    def allowed(self, query_length: int, key_length: int, device: torch.device) -> Tensor | None:
        """Everything that some subset allows."""
        patterns = [part.allowed(query_length, key_length, device) for part in self.parts()]
        given = [pattern for pattern in patterns if pattern is not None]
        if not given and not self.disjoint:
            return None
        if len(given) < len(patterns):
            return torch.ones(query_length, key_length, dtype=torch.bool, device=device)
        return reduce(torch.logical_or, given)

    def training_kind(self, heads: HeadSet, pairs: bool, is_causal: bool) -> Kind | str:
        parts, kinds = self.with_heads(heads), []
        for part, own in parts:
            windows = part.consecutive_from(own) is not None and not pairs
            late = is_causal and self._reach_of_singles(heads) < own.scale - 2
            late = late or any(_irregular(other) for other, alone in parts if alone.scale == 1)
            once = windows and not (late or self.disjoint)
            kind = part.training_kind(own, pairs, is_causal and not once)
            if isinstance(kind, str):
                return kind
            late = late if windows else kind.pooled_late
            kinds.append(kind._replace(pooled_late=late))
        if self.disjoint:
            return Kind(OWN, any(own.scale > 1 for _, own in parts))
        if all(kind == Kind(ALL) for kind in kinds):
            return Kind(ALL)
        return Kind(OWN, any(kind.pooled_late for kind in kinds))

    def with_heads(self, heads: HeadSet) -> list[tuple[Subset, HeadSet]]:
        assert isinstance(heads, HeadsOfUnion)
        return [
            (part, HeadSet(heads.members, scale, part.layout))
            for part, scale in zip(self.parts(), heads.scales, strict=True)
        ]

    def _reach_of_singles(self, heads: HeadSet) -> int:
        """How far from a query every key is there as a single one; -1 = none is."""
        reaches = [part.reach for part, own in self.with_heads(heads) if own.scale == 1]
        return max([-1, *(sys.maxsize if reach is None else reach for reach in reaches)])

    def training_set(
        self, source: KeyValueSource, attendable: Attendable, heads: HeadSet, query_length: int
    ) -> TrainingSet:
        kind = self.training_kind(heads, attendable.pairs is not None, attendable.is_causal)
        assert isinstance(kind, Kind)
        if kind.pooled_late:
            return self.row_pairs(source, attendable, heads, query_length)
        if self.disjoint:  # every key by itself, once
            return super().training_set(source, attendable, heads, query_length)
        source, sets, masks = RememberedSource(source), [], attendable.select(heads.members)
        for part, own in self.with_heads(heads):
            front = part.consecutive_from(own)
            if front is None or attendable.pairs is not None:
                sets.append(part.training_set(source, attendable, own, query_length))
                continue
            pools = part.training_set(source, replace(attendable, is_causal=False), own, query_length)
            uneven = attendable.keys is not None or in_graph() or (source.length - front) % own.scale
            reach = self._reach_of_singles(heads)
            if attendable.is_causal or (reach >= 0 and uneven):
                ends = window_ends(front, own.scale, source.length, pools.key.device)
                kept = ~covered_within(reach, masks, ends, query_length, source.length)
                seen = replace(pools.attendable, pairs=kept)
                if kept.shape[2] == 1:
                    seen = Attendable(keys=seen.matrix(1, ends.shape[0], ends.device))
                pools = replace(pools, attendable=seen)
            sets.append(pools)
        if kind == Kind(ALL):
            return JoinedSet.of(sets).listed()
        device = sets[0].key.device
        return JoinedSet.of(sets, self._keys_seen(heads, masks, query_length, source.length, device))

    def _keys_seen(
        self, heads: HeadSet, masks: Attendable, query_length: int, key_length: int, device: torch.device
    ) -> Tensor:
        """How many keys each query has in some pair, broadcastable to (batch, heads, Nq, 1)."""
        if masks.pairs is not None or any(_irregular(part) for part in self.parts()):
            allowed = masks.matrix(query_length, key_length, device)
            held = self._held(heads.members, allowed, query_length)
            return reduce(torch.logical_or, held).sum(-1, keepdim=True)
        radius = key_length + query_length if self.reach is None else self.reach
        return window_counts(
            masks.keys, radius, query_length=query_length, key_length=key_length,
            is_causal=masks.is_causal, device=device,
        )  # fmt: skip

    def row_pairs(
        self, source: KeyValueSource, attendable: Attendable, heads: HeadSet, query_length: int
    ) -> JoinedSet:
        source = RememberedSource(source)
        parts, device = self.with_heads(heads), source.take(heads.members)[0].device
        allowed = attendable.matrix(query_length, source.length, device)
        of_all_heads, sets = self._held(None, allowed, query_length), []
        masks = [mask if mask.shape[1] == 1 else mask[:, heads.members] for mask in of_all_heads]
        singly = [mask for (_, own), mask in zip(parts, masks, strict=True) if own.scale == 1]
        for (part, own), whole, mask in zip(parts, of_all_heads, masks, strict=True):
            mine = Attendable(pairs=whole, is_causal=attendable.is_causal)
            pairs = part.row_pairs(source, mine, own, query_length)
            assert isinstance(pairs, RowPairs)
            front = part.consecutive_from(own)
            if front is not None and singly:
                ends = window_ends(front, own.scale, source.length, device)
                pairs = replace(pairs, omitted=covered(mask, ends, singly))
            sets.append(pairs)
        return JoinedSet.of(sets)

    def dense_pairs(self, key: Tensor, value: Tensor, allowed: Tensor, heads: HeadSet) -> DensePairs:
        length, parts = allowed.shape[-1], self.with_heads(heads)
        masks = self._held(heads.members, allowed, allowed.shape[-2])
        found = [
            part.dense_pairs(key, value, mask, own) for (part, own), mask in zip(parts, masks, strict=True)
        ]
        alone = torch.zeros_like(allowed)
        for mask, (_, own) in zip(masks, parts, strict=True):
            alone = alone | mask if own.scale == 1 else alone
        for place, ((part, own), pairs) in enumerate(zip(parts, found, strict=True)):
            front = part.consecutive_from(own)
            if front is not None and pairs.shares is not None:
                ends = window_ends(front, own.scale, length, key.device)
                unfinished = ends > last_attended(masks[place])
                lacking = ((pairs.shares > 0) & ~alone.unsqueeze(-2)).any(-1)
                found[place] = pairs._replace(valid=pairs.valid & (lacking | ~unfinished))
        return _together(found, length)

    def _held(self, members: list[int] | None, allowed: Tensor, query_length: int) -> list[Tensor]:
        """What each subset has of the keys that may be attended, like ``allowed``: in some heads, None = all."""
        masks: list[Tensor] = []
        for part in self.parts():
            mine = allowed
            if self.disjoint and masks:
                mine = mine & ~reduce(torch.logical_or, masks)
            pattern = (
                part.allowed(query_length, allowed.shape[-1], allowed.device) if part.patterned else None
            )
            if pattern is not None:
                pattern = pattern[(None,) * (4 - pattern.dim())]
                alike = members is None or pattern.shape[1] == 1
                mine = mine & (pattern if alike else pattern[:, members])
            masks.append(mine)
        return masks

    def without_pattern(self) -> Subset:
        if not self.patterned:
            return self
        return Union(*(part.without_pattern() for part in self.parts()), disjoint=self.disjoint)

    @property
    def shift_equivariant(self) -> bool:
        return all(part.shift_equivariant for part in self.parts())

    @property
    def from_query(self) -> bool:
        return any(part.from_query for part in self.parts())

    @property
    def reach(self) -> int | None:
        reaches = [part.reach for part in self.parts()]
        known = [reach for reach in reaches if reach is not None]
        return max(known) if len(known) == len(reaches) else None


def _irregular(part: Subset) -> bool:
    """Whether a subset of single keys leaves some out that are as near as others."""
    return part.patterned and part.reach is None


def _together(sets: list[DensePairs], length: int) -> DensePairs:
    """The pairs of several sets, one behind the other."""
    keys, values, valid, shares, weights = zip(*sets, strict=True)
    weight = None
    if any(each is not None for each in weights):
        weight = joined(
            [
                torch.zeros_like(own, dtype=keys[0].dtype) if each is None else each
                for own, each in zip(valid, weights, strict=True)
            ]
        )
    alone = torch.eye(length, dtype=keys[0].dtype, device=keys[0].device)[None, None, None]
    share = joined([alone if each is None else each for each in shares], -2)
    return DensePairs(joined(keys, -2), joined(values, -2), joined(valid), share, weight)
