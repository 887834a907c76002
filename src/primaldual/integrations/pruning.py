"""Cut heads out of projections and problems."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import nn

from primaldual.errors import ArgumentError, UnsupportedError
from primaldual.nn.input_projections import InputProjections
from primaldual.primal.attention import Attention


def keep_outputs(projection: nn.Module, heads: Sequence[int], head_dim: int, packs: int = 1) -> None:
    """Keep some heads in the outputs of a linear map: ``packs`` x heads x head_dim numbers.

    Raises:
        UnsupportedError: another kind of map (quantised, LoRA).
    """
    axis = _axis(projection)
    _keep(projection, "weight", axis, heads, head_dim, packs)
    if projection.bias is not None:
        _keep(projection, "bias", 0, heads, head_dim, packs)
    _resize(projection)


def keep_inputs(projection: nn.Module, heads: Sequence[int], head_dim: int) -> None:
    """Keep some heads in the inputs of a linear map: heads x head_dim numbers.

    Raises:
        UnsupportedError: another kind of map (quantised, LoRA).
    """
    _keep(projection, "weight", 1 - _axis(projection), heads, head_dim, 1)
    _resize(projection)


def keep_projected(projections: InputProjections, heads: Sequence[int], head_dim: int) -> None:
    """Keep some heads in the projections of inputs per token, in the order given.

    Raises:
        UnsupportedError: another kind of map (quantised, LoRA).
    """
    for need in projections.needs:
        width = 1 if need.width is None else head_dim
        keep_outputs(projections.get_submodule(need.name), heads, width)
    projections.heads = len(heads)


def check_prunable(*projections: nn.Module) -> None:
    """Raise UnsupportedError unless all are plain linear maps, whose rows and columns can be removed."""
    for projection in projections:
        _axis(projection)


def check_heads(keep: Sequence[int], count: int) -> list[int]:
    """Numbers of heads that stay, as a list.

    Raises:
        ArgumentError: no heads, repeated heads, or heads that do not exist.
    """
    heads = list(keep)
    if not heads or len(set(heads)) < len(heads) or not set(heads) <= set(range(count)):
        raise ArgumentError(f"keep must name some of the heads 0 to {count - 1}, each once; got {heads}")
    return heads


def key_heads(keep: Sequence[int], count: int, kv_count: int) -> list[int]:
    """The heads of keys that the query heads ``keep`` attend, where ``count / kv_count`` share each.

    Raises:
        UnsupportedError: only some of the query heads that share keys would stay.
    """
    sharing = count // kv_count
    kept = sorted({head // sharing for head in keep})
    whole = [head for kv_head in kept for head in range(kv_head * sharing, (kv_head + 1) * sharing)]
    if sharing > 1 and list(keep) != whole:
        raise UnsupportedError(
            f"every {sharing} heads share keys and can only stay or go together, in order; got {list(keep)} of "
            f"{count} heads to keep"
        )
    return list(keep) if sharing == 1 else kept


def pruned_problem(problem: Attention, keep: Sequence[int], count: int) -> Attention:
    """A copy of the problem of ``count`` heads with some of them, in the order given.

    Raises:
        ArgumentError: as :func:`check_heads`.
    """
    return deepcopy(problem).keep_heads(check_heads(keep, count), count)


def _axis(projection: nn.Module) -> int:
    """Where the outputs lie in the weight: 0 in nn.Linear, 1 in the Conv1D of transformers."""
    kind = type(projection)
    conv = kind.__name__ == "Conv1D" and hasattr(projection, "nf")
    if kind is not nn.Linear and not conv:
        raise UnsupportedError(
            f"projections must be plain linear maps, of which rows and columns can be taken; got "
            f"{kind.__module__}.{kind.__name__}"
        )
    if type(projection.weight) is not nn.Parameter:
        raise UnsupportedError(
            f"projections must have plain parameters; got a weight of type {type(projection.weight).__name__}"
        )
    return 1 if conv else 0


@torch.no_grad()
def _keep(
    projection: nn.Module, name: str, axis: int, heads: Sequence[int], head_dim: int, packs: int
) -> None:
    old = projection.get_parameter(name)
    packed = old.unflatten(axis, (packs, -1, head_dim))
    index = torch.tensor(list(heads), device=old.device)
    kept = packed.index_select(axis + 1, index).flatten(axis, axis + 2).contiguous()
    setattr(projection, name, nn.Parameter(kept, requires_grad=old.requires_grad))


def _resize(projection: nn.Module) -> None:
    shape = tuple(projection.get_parameter("weight").shape)
    names = ("out_features", "in_features") if isinstance(projection, nn.Linear) else ("nx", "nf")
    for name, size in zip(names, shape, strict=True):
        setattr(projection, name, size)
