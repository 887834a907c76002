"""Run a model and look at the inputs of its attention layers."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from primaldual.errors import ArgumentError
from primaldual.nn.multihead import MultiheadAttention

Look = Callable[[str, MultiheadAttention, inspect.BoundArguments], None]
"""Called with a layer's path in the model, the layer, and the arguments of its forward."""


def watch_layers(model: nn.Module, inputs: tuple[Any, ...], look: Look) -> None:
    """Run ``model(*inputs)`` in evaluation mode without gradients and show every MultiheadAttention's arguments.

    Model and outputs are left as they were.

    Raises:
        ArgumentError: the model has no MultiheadAttention.
    """
    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, MultiheadAttention)}
    if not layers:
        raise ArgumentError(
            f"model must hold a MultiheadAttention of primaldual; {type(model).__name__} has none"
        )
    handles = [
        layer.register_forward_hook(_hook(name, look), with_kwargs=True) for name, layer in layers.items()
    ]
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            model(*inputs)
    finally:
        model.train(was_training)
        for handle in handles:
            handle.remove()


def _hook(name: str, look: Look) -> Callable[..., None]:
    def hook(
        layer: MultiheadAttention, args: tuple[Any, ...], kwargs: dict[str, Any], output: object
    ) -> None:
        del output
        look(name, layer, inspect.signature(layer.forward).bind(*args, **kwargs))

    return hook
