"""Models whose layers attend to a sequence that is split over processes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from torch import nn

from primaldual.errors import ArgumentError
from primaldual.parallel.sharded_attention import ShardedAttention
from primaldual.primal.attention import Attention

Model = TypeVar("Model", bound=nn.Module)


@contextmanager
def sharded(model: Model, group: Any = None) -> Iterator[Model]:
    """The model, whose layers attend to the tokens of all processes of a group while the context lasts.

    Every process passes its own stretch of the tokens. All that works token by token (projections, feed-forward
    networks, layer normalisation) stays as it is; positions that are added to tokens must be those of the whole sequence,
    and means over tokens, such as a pooled classifier head, those of all processes. Parameters keep their places,
    and their gradients are this process's share. Call with ``need_weights=False``.

    Args:
        model: a module with layers of this library, such as :class:`~primaldual.MultiheadAttention` or a converted model.
        group: the process group; None = the default one.

    Raises:
        ArgumentError: a model without an attention of this library.

    Example:
        >>> import torch
        >>> from primaldual import MultiheadAttention
        >>> store = torch.distributed.HashStore()
        >>> torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
        >>> layer, tokens = MultiheadAttention(8, 2, batch_first=True, attention="bn"), torch.randn(1, 5, 8)
        >>> with sharded(layer):
        ...     out, _ = layer(tokens, tokens, tokens, need_weights=False)
        >>> torch.allclose(out, layer(tokens, tokens, tokens)[0], atol=1e-6)
        True
        >>> torch.distributed.destroy_process_group()
    """
    inside = {part for owner in model.modules() if isinstance(owner, Attention) for part in owner.modules()}
    places = [
        (owner, name, child)
        for owner in model.modules()
        if owner not in inside
        for name, child in owner.named_children()
        if isinstance(child, Attention)
    ]
    if not places:
        raise ArgumentError(
            f"model must hold layers of this library (pdl.convert makes them); got {type(model).__name__} without any"
        )
    try:
        for owner, name, child in places:
            setattr(owner, name, ShardedAttention(child, group).train(child.training))
        yield model
    finally:
        for owner, name, child in places:
            setattr(owner, name, child)
