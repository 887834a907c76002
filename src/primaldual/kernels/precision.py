"""Kernels choose their own precision; autocast must not lower it behind them."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from typing import Any, TypeVar

import torch
from torch import Tensor

Gradients = TypeVar("Gradients")


def own_precision(device: torch.device) -> AbstractContextManager[object]:
    """A context in which autocast is off, free of cost where it is off already."""
    if torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


def backward_in_own_precision(backward: Callable[..., Gradients]) -> Callable[..., Gradients]:
    """For the backward of an autograd function, which callers may run under autocast."""

    @wraps(backward)
    def wrapped(ctx: Any, *gradients: Tensor) -> Gradients:
        with own_precision(gradients[0].device):
            return backward(ctx, *gradients)

    return wrapped
