"""Showing a transform that keeps running statistics the training pairs of every sequence, once per forward pass."""

from __future__ import annotations

import torch
from torch import Tensor

from primaldual.errors import UnsupportedError
from primaldual.kernels.masks import Attendable
from primaldual.kernels.modes import in_graph, in_transform
from primaldual.kernels.precision import own_precision
from primaldual.primal.choices import Choices
from primaldual.primal.sources import KeyValueSource
from primaldual.primal.token_inputs import Inputs, read_inputs, with_values
from primaldual.primal.training_sets import ALL, Kind


def observe(
    choices: Choices,
    source: KeyValueSource,
    attendable: Attendable,
    query: Tensor,
    inputs: Inputs | None = None,
) -> None:
    """Show the transform the training pairs of every sequence, if it asks for them.

    These are the pairs of the bidirectional attention on all keys that some query may attend: the causal
    condition, and a window or pattern of the subset, are left out. Nothing is shown while a checkpointed
    forward pass is computed again in the backward pass.

    Args:
        choices: the parts.
        source: keys and values, finite where masked.
        attendable: the masks.
        query: (batch, heads, Nq, D), for its sizes.
        inputs: what the parts need of every token, by name.

    Raises:
        UnsupportedError: a subset that has no fast form under a key mask.
    """
    if not choices.transform.observes or _recomputing():
        return
    if in_transform():
        raise UnsupportedError(
            f"{choices.spec()} updates running statistics in training, which torch.func does not allow: call eval() first"
        )
    heads, query_length = query.shape[1:3]
    with torch.no_grad(), own_precision(query.device):
        keys = attendable.keys
        if attendable.pairs is not None:
            keys = attendable.matrix(query_length, source.length, query.device).any(-2, keepdim=True)
        choices = _of_call(choices, source, attendable, query, inputs)
        subset = choices.subset.without_pattern()
        for group in subset.head_sets(heads):
            kind = subset.training_kind(group, False, False)
            if kind != Kind(ALL):
                own = f"{subset.spec()} forms those of every query"
                raise UnsupportedError(
                    f"{choices.transform.spec()} keeps running statistics of training pairs that all queries share: "
                    f"{kind if isinstance(kind, str) else own}"
                )
            training = subset.training_set(source, Attendable(keys), group, query_length)
            choices.transform.observe(training, group)


def _of_call(
    choices: Choices, source: KeyValueSource, attendable: Attendable, query: Tensor, inputs: Inputs | None
) -> Choices:
    """The parts with what they need of every token, where they need anything."""
    needs, heads = choices.token_inputs, query.shape[1]
    if not needs:
        return choices
    value = source.take(list(range(heads)))[1]
    inputs = with_values(needs, inputs, heads, value)
    return choices.with_inputs(
        read_inputs(choices, needs, inputs, query, source.length, value.shape[3], attendable)
    )


def _recomputing() -> bool:
    """Whether a backward pass is under way, in which activation checkpointing repeats the forward pass."""
    return not in_graph() and torch._C._current_graph_task_id() != -1
