"""Cut heads out of projections and problems."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn

from primaldual.errors import UnsupportedError
from primaldual.integrations.sites import Attending
from primaldual.primal.head_groups import HeadGroups
from primaldual.primal.problem import PrimalProblem


def keep_outputs(projection: nn.Module, heads: Sequence[int], head_dim: int, packs: int = 1) -> None:
    """Keep some heads of what a linear map gives: ``packs`` x heads x head_dim numbers.

    Raises:
        UnsupportedError: another kind of map (quantised, LoRA).
    """
    axis = _axis(projection)
    _keep(projection, "weight", axis, heads, head_dim, packs)
    if projection.bias is not None:
        _keep(projection, "bias", 0, heads, head_dim, packs)
    _resize(projection)


def keep_inputs(projection: nn.Module, heads: Sequence[int], head_dim: int) -> None:
    """Keep some heads of what a linear map takes: heads x head_dim numbers.

    Raises:
        UnsupportedError: another kind of map (quantised, LoRA).
    """
    _keep(projection, "weight", 1 - _axis(projection), heads, head_dim, 1)
    _resize(projection)


def check_prunable(*projections: nn.Module) -> None:
    """Raise UnsupportedError unless all are plain linear maps, whose rows and columns can go."""
    for projection in projections:
        _axis(projection)


def pruned_problem(problem: Attending, keep: Sequence[int], count: int) -> Attending:
    """A copy of the problem of ``count`` heads with some of them, in their order."""
    heads = list(keep)
    if isinstance(problem, HeadGroups):
        pairs = []
        for part, members in problem.pairs():
            local = [members.index(head) for head in heads if head in members]
            stay = [place for place, head in enumerate(heads) if head in members]
            if stay:
                pairs.append((_pruned(part, local, len(members)), stay))
        return pairs[0][0] if len(pairs) == 1 else HeadGroups(pairs)
    return _pruned(problem, heads, count)


def _pruned(problem: PrimalProblem, members: list[int], heads: int) -> PrimalProblem:
    copy = deepcopy(problem)
    for part in copy.parts():
        part.keep_heads(members, heads)
    return copy


def _axis(projection: nn.Module) -> int:
    """Where the outputs lie in the weight: 0 in nn.Linear, 1 in the Conv1D of transformers."""
    if type(projection) is nn.Linear:
        return 0
    if type(projection).__name__ == "Conv1D" and hasattr(projection, "nf"):
        return 1
    raise UnsupportedError(f"heads can be cut out of nn.Linear only; got a {type(projection).__name__}")


@torch.no_grad()
def _keep(
    projection: nn.Module, name: str, axis: int, heads: Sequence[int], head_dim: int, packs: int
) -> None:
    old: Tensor = getattr(projection, name)
    packed = old.unflatten(axis, (packs, -1, head_dim))
    index = torch.tensor(list(heads), device=old.device)
    kept = packed.index_select(axis + 1, index).flatten(axis, axis + 2).contiguous()
    setattr(projection, name, nn.Parameter(kept, requires_grad=old.requires_grad))


def _resize(projection: nn.Module) -> None:
    weight: Tensor = projection.weight
    if isinstance(projection, nn.Linear):
        projection.out_features, projection.in_features = weight.shape
    else:
        projection.nx, projection.nf = weight.shape
