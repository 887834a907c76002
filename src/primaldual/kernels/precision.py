"""Kernels choose their own precision; autocast must not lower it behind them."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from typing import Any, TypeVar

import torch
from torch import Tensor

from primaldual.errors import UnsupportedError

Gradients = TypeVar("Gradients")


def autocasts(device: torch.device) -> bool:
    """Whether autocast is on for tensors of a device; shapes alone (``meta``) know none."""
    return device.type != "meta" and torch.is_autocast_enabled(device.type)


def own_precision(device: torch.device) -> AbstractContextManager[object]:
    """A context in which autocast is off, free of cost where it is off already."""
    if autocasts(device):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


def differentiated_once(backward: Callable[..., Gradients]) -> Callable[..., Gradients]:
    """For the backward of an autograd function: it has no derivative itself, and callers may run it under autocast."""

    @wraps(backward)
    def wrapped(ctx: Any, *gradients: Tensor) -> Gradients:
        if torch.is_grad_enabled():
            raise UnsupportedError(
                "attend is differentiated once here (create_graph must be False): second derivatives are those of "
                "PrimalProblem.dense, or of attend under torch.func"
            )
        with own_precision(gradients[0].device):
            return backward(ctx, *gradients)

    return wrapped


def once(tensor: Tensor) -> Tensor:
    """The tensor, whose gradient has no derivative itself: for results of formulas of which only the first one is right."""
    out: Tensor = _Once.apply(tensor)
    return out


class _Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        return tensor.view_as(tensor)

    @staticmethod
    @differentiated_once
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient
