"""Models that run through ``torch.compile`` for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def compiled(model: nn.Module) -> Iterator[None]:
    """Inside, calls of the model run compiled; names of weights stay, and afterwards the model is as before.

    Example:
        >>> import torch
        >>> layer = nn.Linear(2, 2)
        >>> with compiled(layer):
        ...     list(layer.state_dict())
        ['weight', 'bias']
    """
    model.compile()
    try:
        yield
    finally:
        model._compiled_call_impl = None
