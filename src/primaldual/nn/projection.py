"""Keys and values that are projected only when, and only as far as, an attention asks for them."""

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from primaldual.kernels.pooling import pool
from primaldual.primal.attention import Attention
from primaldual.primal.head_sets import HeadSet
from primaldual.primal.sources import selection


class ProjectedSource:
    """Keys and values as inputs (batch, Nk, features) and their projections.

    Pooling commutes with projection, pool(x W + b) = pool(x) W + b, so heads of scale r project
    N / r positions, and only their own rows of W.

    Args:
        key: input of the key projection.
        value: input of the value projection.
        key_projection: features -> kv heads * head_dim.
        value_projection: features -> kv heads * head_dim.
        query_heads: number of query heads.
        head_dim: D.
    """

    def __init__(
        self,
        key: Tensor,
        value: Tensor,
        key_projection: nn.Module,
        value_projection: nn.Module,
        query_heads: int,
        head_dim: int,
    ) -> None:
        self.key = key
        self.value = value
        self.key_projection = key_projection
        self.value_projection = value_projection
        self.query_heads = query_heads
        self.head_dim = head_dim
        self.length = key.shape[1]
        self.tensors = None

    def take(self, heads: list[int]) -> tuple[Tensor, Tensor]:
        return self._project(self.key, self.value, heads)

    def pooled(self, heads: HeadSet, key_mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        position_mask = None if key_mask is None else key_mask[:, 0]
        key, mask = pool(self.key, heads.scale, position_mask, heads.positions)
        if self.value is self.key:
            value = key
        else:
            value = pool(self.value, heads.scale, position_mask, heads.positions)[0]
        return (*self._project(key, value, heads.members), None if mask is None else mask.unsqueeze(1))

    def _project(self, key: Tensor, value: Tensor, heads: list[int]) -> tuple[Tensor, Tensor]:
        return (
            project(self.key_projection, key, heads, self.query_heads, self.head_dim),
            project(self.value_projection, value, heads, self.query_heads, self.head_dim),
        )


def project(
    projection: nn.Module, inputs: Tensor, heads: list[int], query_heads: int, head_dim: int
) -> Tensor:
    """The projection for some query heads: (batch, N, features) -> (batch, kv heads, N, head_dim).

    A plain ``nn.Linear`` is cut to the rows of the heads; anything else (LoRA, quantised, hooked) is
    called whole.
    """
    if len(heads) == query_heads:
        return split_heads(projection(inputs), head_dim)
    if type(projection) is not nn.Linear or projection._forward_hooks or projection._forward_pre_hooks:
        whole = split_heads(projection(inputs), head_dim)
        groups = query_heads // whole.shape[1]
        return whole[:, selection([head // groups for head in heads])]
    groups = query_heads * head_dim // projection.out_features
    shared = selection([head // groups for head in heads])
    weight = projection.weight.unflatten(0, (-1, head_dim))[shared].flatten(0, 1)
    bias = None if projection.bias is None else projection.bias.unflatten(0, (-1, head_dim))[shared].flatten()
    return split_heads(linear(inputs, weight, bias), head_dim)


def split_heads(projected: Tensor, head_dim: int) -> Tensor:
    """(batch, N, heads * head_dim) -> (batch, heads, N, head_dim), a view."""
    return projected.unflatten(-1, (-1, head_dim)).transpose(1, 2)


def pools_first(attention: Attention, heads: int, device: torch.device) -> bool:
    """Whether inputs are pooled before they are projected: where some heads have pools.

    On a GPU that takes more launches than it saves.
    """
    if device.type != "cpu":
        return False
    return any(problem.subset.pools(len(members)) for problem, members in attention.problems(heads))
