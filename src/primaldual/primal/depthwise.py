"""Depthwise convolution as an input transform, whatever its dimension."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from primaldual.errors import ArgumentError, ShapeError, UnsupportedError
from primaldual.kernels import dense
from primaldual.kernels.arguments import flag, is_whole, shown
from primaldual.kernels.convolution import convolve, convolve_queries
from primaldual.kernels.layout import Layout
from primaldual.kernels.masks import Attendable, keep_attendable
from primaldual.kernels.row_scores import Filter
from primaldual.primal.head_sets import HeadSet
from primaldual.primal.row_pairs import RowPairs
from primaldual.primal.sources import selection
from primaldual.primal.training_sets import OWN, PREFIX, Kind, TrainingSet
from primaldual.primal.transforms import Transform

MOST_TAPS = {1: 1023, 2: 255}
"""Largest kernel size by the dimensions of the filter."""


class DepthwiseConvolution(Transform):
    """What the convolutions of both dimensions share; a subclass states how positions lie, and its formula.

    The transform sees only the training keys of a query, so whatever it may not attend counts as 0: a
    centred filter under a causal mask ends at the query. Filters are learned, one for each head and
    channel, once :meth:`bind` has created them; they start as the identity.

    Attributes:
        weight: (heads, head_dim, kernel_size) or (heads, head_dim, kernel_size, kernel_size).
    """

    dimensions: ClassVar[int]
    causal = False
    repeatable = True
    neighbours = True
    filters_pairs = True

    def __init__(self, kernel_size: int, queries: bool, own: Layout) -> None:
        super().__init__()
        most = MOST_TAPS[self.dimensions]
        if not is_whole(kernel_size, 1, most) or kernel_size % 2 == 0:
            raise ArgumentError(
                f"kernel_size must be an odd integer from 1 to {most}; got {shown(kernel_size)}"
            )
        self.kernel_size = kernel_size
        self.queries = flag("queries", queries)
        self.mixes_queries = self.queries
        self.grid = own.grid
        self.prefix = own.prefix
        self.weight: nn.Parameter | None
        self.register_parameter("weight", None)

    @property
    def taps(self) -> tuple[int, int]:
        """Rows and columns of a filter."""
        return (1 if self.dimensions == 1 else self.kernel_size), self.kernel_size

    @property
    def layout(self) -> Layout:
        return Layout(self.grid, self.prefix)

    @property
    def keeps_queries(self) -> bool:
        return not self.queries

    def positions(self, heads: HeadSet, length: int) -> Layout:
        """How ``length`` unpooled positions lie, from what the transform and the subset say."""
        raise NotImplementedError

    def arguments(self) -> tuple[object, ...]:
        return (self.kernel_size,)

    def bind(self, heads: int, head_dim: int) -> Self:
        initial = self._identity(heads, head_dim)
        self.weight = nn.Parameter(initial if self.dimensions == 2 else initial.squeeze(-2))
        return self

    def keep_heads(self, members: list[int], heads: int) -> None:
        del heads
        if self.weight is not None:
            self.weight = nn.Parameter(self.weight.detach()[members], self.weight.requires_grad)

    def operations(self, pairs: int, queries: int, head_dim: int) -> int:
        return 2 * self.taps[0] * self.taps[1] * (pairs + queries * self.queries) * head_dim

    def dense(self, query: Tensor, keys: Tensor, valid: Tensor, heads: HeadSet) -> tuple[Tensor, Tensor]:
        layout = self._layout(heads, keys.shape[-2])
        seen = torch.where(valid.unsqueeze(-1), keys, 0.0)
        weight = self.filters(heads, keys)
        return query, dense.convolution(seen, weight, layout.grid, layout.prefix, self.causal)

    def per_query(self, query: Tensor, keys: Tensor, valid: Tensor, heads: HeadSet) -> tuple[Tensor, Tensor]:
        layout = self._layout(heads, keys.shape[-2])
        seen = (keys * valid.unsqueeze(-1)).transpose(1, 2)
        flat = convolve(seen.flatten(0, 1), self.filters(heads, keys), layout, self.causal)
        return query, flat.unflatten(0, seen.shape[:2]).transpose(1, 2)

    def shared_refusal(self, kind: Kind) -> str | None:
        if kind.pooled_late:
            return f"{self.spec()} mixes pooled keys, and under a causal mask every query pools its own"
        if kind.seen == OWN:
            return f"{self.spec()} sees only the keys of a query, which differ from query to query"
        if kind.seen == PREFIX and not self.causal:
            return f"{self.spec()} is cut off at every query of a causal mask; causal=true is not"
        return None

    def shared(self, query: Tensor, training: TrainingSet, heads: HeadSet) -> tuple[Tensor, TrainingSet]:
        training = training.for_query_heads(query.shape[1])
        layout = self._layout(heads, training.key.shape[-2])
        seen = keep_attendable(training.key, training.attendable.keys)
        keys = convolve(seen, self.filters(heads, seen), layout, self.causal)
        return query, training.with_keys(keys)

    @property
    def unsettled_keys(self) -> int | None:
        return self.kernel_size // 2 if self.dimensions == 1 and not self.causal else None

    def unsettled(self, training: TrainingSet, heads: HeadSet) -> list[Tensor]:
        layout, filters = self._layout(heads, training.key.shape[-2]), self.filters(heads, training.key)
        seen, middle = filters.shape[-1], self.kernel_size // 2
        cut = (filters * (torch.arange(seen, device=filters.device) <= middle + e) for e in range(middle))
        return [convolve(training.key, truncated, layout) for truncated in cut]

    def scores_refusal(self, kind: Kind) -> None:
        del kind

    def scored_refusal(self, kind: Kind) -> str | None:
        return None if kind.pooled_late else self.shared_refusal(kind)

    def into_scored(
        self, query: Tensor, training: TrainingSet, heads: HeadSet
    ) -> tuple[Tensor, TrainingSet, Tensor | None]:
        form = self.into_scores if isinstance(training, RowPairs) else self.shared
        return *form(query, training, heads), None

    def into_scores(self, query: Tensor, pairs: TrainingSet, heads: HeadSet) -> tuple[Tensor, TrainingSet]:
        assert isinstance(pairs, RowPairs)
        taps = Filter(self.filters(heads, query), self._layout(heads, pairs.count), self.causal)
        return query, replace(pairs, taps=taps)

    def dense_queries(self, query: Tensor, allowed: Tensor | None, heads: HeadSet) -> Tensor:
        length = query.shape[-2]
        layout = self.positions(heads, length)
        layout.check(length)
        seen = query.unsqueeze(2)
        if allowed is not None:
            own = torch.eye(length, dtype=torch.bool, device=query.device)
            seen = torch.where((allowed | own).unsqueeze(-1), seen, 0.0)
        weight = self.filters(heads, query)
        mixed = dense.convolution(seen, weight, layout.grid, layout.prefix, self.causal)
        return mixed.squeeze(2) if allowed is None else mixed.diagonal(dim1=2, dim2=3).transpose(-2, -1)

    def mix_queries(self, query: Tensor, attendable: Attendable, heads: HeadSet) -> Tensor:
        layout = self.positions(heads, query.shape[-2])
        layout.check(query.shape[-2])
        return convolve_queries(query, self.filters(heads, query), layout, self.causal, attendable)

    def _layout(self, heads: HeadSet, pairs: int) -> Layout:
        """How the training pairs lie."""
        if heads.positions.suffix and heads.scale > 1:
            raise UnsupportedError(
                f"{self.spec()} takes pooled pairs for neighbours in a row; the {heads.positions.suffix} tokens of the "
                "subset's suffix are not pooled"
            )
        layout = self.positions(heads, pairs).pooled(heads.scale)
        layout.check(pairs)
        return layout

    def filters(self, heads: HeadSet, like: Tensor) -> Tensor:
        """The filters of these heads, (heads, D, rows, columns)."""
        members, head_dim = heads.members, like.shape[-1]
        if self.weight is None:
            return self._identity(len(members), head_dim).to(like)
        if self.weight.shape[1] != head_dim or max(members) >= self.weight.shape[0]:
            raise ShapeError(
                f"{self.spec()} has filters for {self.weight.shape[0]} heads of dimension {self.weight.shape[1]}; "
                f"got head {max(members)} of dimension {head_dim}"
            )
        return self.weight[selection(members)].reshape(len(members), head_dim, *self.taps)

    def _identity(self, heads: int, head_dim: int) -> Tensor:
        rows, columns = self.taps
        weight = torch.zeros(heads, head_dim, rows, columns)
        weight[..., rows // 2, columns - 1 if self.causal else columns // 2] = 1
        return weight
