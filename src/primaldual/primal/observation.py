"""Showing a transform that keeps running statistics the training pairs of every sequence, once per forward pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from primaldual.errors import UnsupportedError
from primaldual.kernels.masks import Attendable
from primaldual.kernels.precision import own_precision
from primaldual.primal.head_sets import HeadSet
from primaldual.primal.sources import KeyValueSource, TensorSource
from primaldual.primal.subsets import AllKeys, Subset

if TYPE_CHECKING:
    from primaldual.primal.problem import PrimalProblem


class RememberedSource:
    """A source whose keys and values are computed once, for the attention and for :func:`observe`."""

    def __init__(self, source: KeyValueSource) -> None:
        self.source = source
        self.length = source.length
        self.tensors = source.tensors
        self._taken: dict[tuple[int, ...], tuple[Tensor, Tensor]] = {}
        self._pooled: dict[tuple[int, ...], tuple[Tensor, Tensor, Tensor | None]] = {}

    def take(self, heads: list[int]) -> tuple[Tensor, Tensor]:
        members = tuple(heads)
        if members not in self._taken:
            self._taken[members] = self.source.take(heads)
        return self._taken[members]

    def pooled(self, heads: HeadSet, key_mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        members = tuple(heads.members)
        if members not in self._pooled:
            source = self.source
            if members in self._taken:
                source = TensorSource(*self._taken[members], len(members))
            self._pooled[members] = source.pooled(heads, key_mask)
        return self._pooled[members]


def observe(problem: PrimalProblem, source: KeyValueSource, attendable: Attendable, query: Tensor) -> None:
    """Show the transform the training pairs of every sequence, if it asks for them.

    These are the pairs of the bidirectional attention on all keys that some query may attend: the causal
    condition, and a window or pattern of the subset, are left out. Nothing is shown while a checkpointed
    forward pass is computed again in the backward pass.

    Args:
        problem: states the transform and the subset.
        source: keys and values, finite where masked.
        attendable: the masks.
        query: (batch, heads, Nq, D), for its sizes.

    Raises:
        UnsupportedError: a subset that has no fast form under a key mask.
    """
    if not problem.transform.observes or _recomputing():
        return
    heads, query_length = query.shape[1:3]
    with torch.no_grad(), own_precision(query.device):
        keys = attendable.keys
        if attendable.pairs is not None:
            keys = attendable.matrix(query_length, source.length, query.device).any(-2, keepdim=True)
        subset = _without_pattern(problem.subset)
        for group in subset.head_sets(heads):
            training = subset.training_set(source, Attendable(keys), group, query_length)
            if training is None:
                raise UnsupportedError(
                    f"{problem.transform.spec()} keeps running statistics of training pairs that all queries share; "
                    f"the subset {problem.subset.spec()!r} has none"
                )
            problem.transform.observe(training, group)


def _without_pattern(subset: Subset) -> Subset:
    """The subset, or all keys where it leaves out pairs by position."""
    if type(subset).allowed is Subset.allowed:
        return subset
    everything = AllKeys()
    everything.layout = subset.layout
    return everything


def _recomputing() -> bool:
    """Whether a backward pass is under way, in which activation checkpointing repeats the forward pass."""
    return not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1
