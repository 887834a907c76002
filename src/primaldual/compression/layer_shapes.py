"""The sizes of a layer's attention, as a model calls it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from primaldual.integrations.attention_hooks import AttentionCall, call, watching
from primaldual.integrations.attention_sites import AttentionSite


class LayerShape(NamedTuple):
    """Sizes and conditions of one attention.

    Attributes:
        batch: sequences.
        heads: query heads.
        kv_heads: key heads.
        queries: Nq.
        keys: Nk.
        head_dim: D.
        value_dim: Dv.
        is_causal: queries attend no later key.
        dtype: of the tensors.
        device: likewise.
    """

    batch: int
    heads: int
    kv_heads: int
    queries: int
    keys: int
    head_dim: int
    value_dim: int
    is_causal: bool
    dtype: torch.dtype
    device: torch.device

    def at(self, length: int | None) -> LayerShape:
        """The same with so many queries and keys; None = as it is."""
        return self if length is None else self._replace(queries=length, keys=length)

    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of these sizes, normal numbers."""
        generator = torch.Generator().manual_seed(0)

        def normal(heads: int, length: int, width: int) -> Tensor:
            made = torch.randn(self.batch, length, heads, width, generator=generator)
            return made.to(self.device, self.dtype).transpose(1, 2)  # as projections leave them

        return (
            normal(self.heads, self.queries, self.head_dim),
            normal(self.kv_heads, self.keys, self.head_dim),
            normal(self.kv_heads, self.keys, self.value_dim),
        )


@torch.no_grad()
def layer_shapes(model: nn.Module, sites: Sequence[AttentionSite], batch: Any) -> dict[str, LayerShape]:
    """The sizes of every layer on a batch, by its path."""
    found: dict[str, LayerShape] = {}

    def look(seen: AttentionCall) -> None:
        query, (key, value) = seen.query, seen.source.take(list(range(seen.query.shape[1])))
        found[seen.site.path] = LayerShape(
            query.shape[0], query.shape[1], key.shape[1], query.shape[2], key.shape[2], query.shape[3],
            value.shape[3], seen.attendable.is_causal, query.dtype, query.device,
        )  # fmt: skip

    with watching(sites, look):
        call(model, batch)
    return found
