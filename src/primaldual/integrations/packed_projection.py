"""Queries, keys and values of one packed linear map, projected only as far as the attention needs them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from primaldual.kernels.pooling import pool
from primaldual.nn.projection import split_heads
from primaldual.primal.head_sets import HeadSet


class PackedSource:
    """Keys and values of heads that take their own rows of a map x -> (q, k, v), each ``heads`` x ``head_dim`` wide.

    Pooling commutes with projection, so heads of scale r project their pooled inputs only.

    Args:
        inputs: (batch, N, features), finite.
        projection: the map; :func:`plain` must hold.
        heads: H.
        head_dim: D.
    """

    def __init__(self, inputs: Tensor, projection: nn.Linear, heads: int, head_dim: int) -> None:
        self.inputs = inputs
        # The backward of one split writes the gradient once; that of every index would fill one with zeros.
        sizes = [heads * head_dim, 2 * heads * head_dim]
        self.weights = projection.weight.split(sizes)
        self.biases = (None, None) if projection.bias is None else projection.bias.split(sizes)
        self.heads = heads
        self.length = inputs.shape[1]
        self.head_dim = head_dim
        self.tensors = None
        self._split: tuple[tuple[Tensor, ...], tuple[Tensor, ...] | None] | None = None

    def query(self, inputs: Tensor) -> Tensor:
        """The queries of all heads, (batch, heads, N, D)."""
        return split_heads(linear(inputs, self.weights[0], self.biases[0]), self.head_dim)

    def take(self, heads: list[int]) -> tuple[Tensor, Tensor]:
        return self._project(self.inputs, heads)

    def pooled(self, heads: HeadSet, key_mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        position_mask = None if key_mask is None else key_mask[:, 0]
        inputs, mask = pool(self.inputs, heads.scale, position_mask, heads.positions)
        return *self._project(inputs, heads.members), None if mask is None else mask.unsqueeze(1)

    def _by_head(self) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...] | None]:
        """Weights and biases of the keys of every head, and of the values of every head; split once."""
        if self._split is None:
            weight, bias = self.weights[1], self.biases[1]
            biases = None if bias is None else bias.split(self.head_dim)
            self._split = weight.split(self.head_dim), biases
        return self._split

    def _project(self, inputs: Tensor, heads: list[int]) -> tuple[Tensor, Tensor]:
        weight, bias = self.weights[1], self.biases[1]
        if heads != list(range(self.heads)):
            rows = [part * self.heads + head for part in (0, 1) for head in heads]
            weights, biases = self._by_head()
            weight = torch.cat([weights[row] for row in rows])
            bias = None if biases is None else torch.cat([biases[row] for row in rows])
        projected = linear(inputs, weight, bias)
        key, value = projected.unflatten(-1, (2, len(heads), self.head_dim)).unbind(2)
        return key.transpose(1, 2), value.transpose(1, 2)


def plain(projection: nn.Module) -> bool:
    """Whether a projection may be cut: a plain nn.Linear (no LoRA, not quantised) without hooks."""
    watched = projection._forward_hooks or projection._forward_pre_hooks
    return type(projection) is nn.Linear and not watched
