"""Activation checkpointing: blocks whose activations are computed again in the backward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint

from primaldual.errors import UnsupportedError


@contextmanager
def recomputed_blocks(model: nn.Module) -> Iterator[None]:
    """Inside, every block of the model computes its activations again in the backward pass.

    The blocks are those that the model keeps in a ``ModuleList`` or ``Sequential``, the outermost ones, and that hold
    modules themselves. Dropout draws the same numbers again.

    Raises:
        UnsupportedError: the model keeps no blocks in a list.

    Example:
        >>> model = nn.Sequential(*(nn.Sequential(nn.Linear(2, 2), nn.ReLU()) for _ in range(3)))
        >>> with recomputed_blocks(model):
        ...     model(nn.Parameter(next(model.parameters()).detach()[:1])).sum().backward()
    """
    blocks = list(_blocks(model))
    if not blocks:
        raise UnsupportedError(
            f"activation_checkpointing needs blocks in a ModuleList or Sequential; {type(model).__name__} has none"
        )
    for block in blocks:
        vars(block)["forward"] = partial(_again, block.forward)
    try:
        yield
    finally:
        for block in blocks:
            del vars(block)["forward"]


def _again(forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return checkpoint(forward, *args, use_reentrant=False, **kwargs)


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    for child in [module] if isinstance(module, nn.ModuleList | nn.Sequential) else module.children():
        if isinstance(child, nn.ModuleList | nn.Sequential):
            blocks = [block for block in child if any(True for _ in block.children())]
            yield from blocks
        elif child is not module:
            yield from _blocks(child)
