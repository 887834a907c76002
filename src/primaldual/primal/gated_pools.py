"""The subset of pools by learned gates."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor

from primaldual.kernels.arguments import MOST_POSITIONS, whole
from primaldual.kernels.gated_pooling import gated_pool
from primaldual.kernels.heads import for_query_heads
from primaldual.kernels.layout import ceil_div
from primaldual.kernels.masks import Attendable
from primaldual.kernels.pooling import window_index
from primaldual.kernels.statistics import accumulation_dtype, widest
from primaldual.primal.head_sets import HeadSet
from primaldual.primal.sources import KeyValueSource, pick, selection
from primaldual.primal.subsets import DensePairs, Subset
from primaldual.primal.token_inputs import HEAD_DIM, VALUE_DIM, Inputs, TokenInput
from primaldual.primal.training_sets import ALL, Kind, MaskedPairs, TrainingSet


class GatedPools(Subset):
    """Pooled pairs by learned gates: k_t = sum_j softmax_j(a_j) * k_j and v_t = sum_j softmax_j(b_j) * v_j.

    All is elementwise, and j runs over windows of ``rate`` positions, as far as they may be attended.
    ``inputs={"key_gate": (batch, heads, Nk, D), "value_gate": (batch, heads, Nk, Dv)}`` are a and b; a layer projects
    them from each token, 0 at first, which is ``sh`` with one scale. A bias for each place of a window is part of the gates.
    Beside a window that holds the members of unfinished pools, as in ``hca``, pools are formed once for all queries; a
    causal call without such a window runs by the definition, which forms the pools of every query.

    Features of a value count differently, so no map of positions gives the outputs: ``attention_map`` refuses.

    Args:
        rate: positions of a pool.

    Raises:
        ArgumentError: a rate below 1.

    Reference: the compressor of DeepSeek-V4's heavily compressed attention (2026), which has one gate for keys that are
        the values.

    Example:
        >>> from primaldual import preset
        >>> query, key, value = torch.randn(3, 1, 2, 6, 4).unbind(0)
        >>> gates = {"key_gate": torch.zeros(1, 2, 6, 4), "value_gate": torch.zeros(1, 2, 6, 4)}
        >>> pooled = preset("gated(3)").attend(query, key, value, inputs=gates)
        >>> torch.allclose(pooled, preset("sh(3)").attend(query, key, value), atol=1e-6)
        True
    """

    name = "gated"
    summary = "keys and values pooled by learned softmax gates of every feature"
    cost = "1/rate of softmax; causal by the definition, unless beside a window"
    examples = ("gated(3)",)
    by_feature = True
    token_inputs = (
        TokenInput("key_gate", "logits of the features of a key within its pool", width=HEAD_DIM),
        TokenInput("value_gate", "logits of the features of a value within its pool", width=VALUE_DIM),
    )
    gates: tuple[Tensor, Tensor] | None = None
    """Of keys and values, (batch, heads, Nk, D) and (batch, heads, Nk, Dv); known during a call."""

    def __init__(self, rate: int = 4) -> None:
        super().__init__()
        self.rate = whole("rate", rate, 1, MOST_POSITIONS)

    def arguments(self) -> tuple[object, ...]:
        return (self.rate,)

    def with_inputs(self, inputs: Inputs) -> Self:
        return self.knowing(gates=(inputs["key_gate"], inputs["value_gate"]))

    def head_scales(self, heads: int) -> tuple[int, ...]:
        return (self.rate,) * heads

    def membership(self, heads: HeadSet, allowed: Tensor) -> Tensor:
        self.layout.check(allowed.shape[-1])
        length = allowed.shape[-1]
        index = window_index(length, self.rate, self.layout, allowed.device)
        return index == torch.arange(ceil_div(length, self.rate), device=allowed.device)[:, None]

    def dense_pairs(self, key: Tensor, value: Tensor, allowed: Tensor, heads: HeadSet) -> DensePairs:
        plain = super().dense_pairs(key, value, allowed, heads)
        members, used = allowed.unsqueeze(-2) & self.membership(heads, allowed), allowed.any(-2).unsqueeze(-1)
        keys, values = (
            _weighted(torch.where(used, part, 0.0), self._gates(place, heads), members)
            for place, part in enumerate((key, value))
        )
        return plain._replace(keys=keys, values=values)

    def training_kind(self, heads: HeadSet, pairs: bool, is_causal: bool) -> Kind | str:
        if pairs or is_causal:
            return f"{self.spec()} weighs the members of a pool by gates, for every query what it may attend of it"
        return Kind(ALL)

    def training_set(
        self, source: KeyValueSource, attendable: Attendable, heads: HeadSet, query_length: int
    ) -> TrainingSet:
        mask = attendable.select(selection(heads.members)).keys
        key, value = (for_query_heads(part, len(heads.members)) for part in source.take(heads.members))
        wide = accumulation_dtype(
            key.dtype
        )  # half-precision means of keys far from 0 would round away differences
        keys = gated_pool(key.to(wide), self._gates(0, heads), self.rate, mask)
        values = gated_pool(value, self._gates(1, heads), self.rate, mask)
        kept = None
        if mask is not None:
            kept = (self.membership(heads, mask) & mask).any(-1).unsqueeze(-2)
        return MaskedPairs(keys, values, query_length, Attendable(keys=kept))

    def consecutive_from(self, heads: HeadSet) -> int | None:
        return 0 if heads.scale > 1 else None

    def _gates(self, place: int, heads: HeadSet) -> Tensor:
        assert self.gates is not None
        return pick(self.gates[place], heads.members)

    def formula(self, style: str) -> list[str]:
        if style == "latex":
            return [
                r"\text{pairs are } \textstyle\sum_j \operatorname{softmax}_j(g_j) \odot (k_j, v_j) "
                rf"\text{{ over windows of }} {self.rate}"
            ]
        return [f"pairs are Σ_j softmax_j(g_j) ⊙ (k_j, v_j) over windows of {self.rate}"]


def _weighted(tensor: Tensor, gates: Tensor, members: Tensor) -> Tensor:
    """The pools of every query by definition, feature by feature: (batch, heads, Nq or 1, Nt, D).

    Args:
        tensor: (batch, heads, N, D), 0 where no query attends.
        gates: likewise.
        members: bool (batch or 1, heads or 1, Nq or 1, Nt, N), what a query has of each pool.
    """
    wide, pools = widest(tensor.device), []
    for numbers, gate in zip(tensor.to(wide).unbind(-1), gates.to(wide).unbind(-1), strict=True):
        logits = torch.where(members, gate[:, :, None, None], -torch.inf)
        largest = logits.detach().amax(-1, keepdim=True) if logits.shape[-1] else logits
        shares = torch.exp(logits - torch.where(largest.isfinite(), largest, 0.0))
        total = shares.sum(-1)
        pools.append((shares * numbers[:, :, None, None]).sum(-1) / (total + (total == 0)))
    return torch.stack(pools, -1).to(tensor.dtype)
