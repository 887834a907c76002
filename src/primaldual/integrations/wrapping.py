"""Models whose layers can no longer be exchanged, because something outside refers to their layers or weights."""

from __future__ import annotations

import torch
from torch import nn

from primaldual.errors import ArgumentError, UnsupportedError

WRAPPERS = {
    "DDP",
    "DeepSpeedEngine",
    "DistributedDataParallel",
    "FSDPModule",
    "FullyShardedDataParallel",
    "OptimizedModule",
    "ReplicateModule",
}
"""Classes, and base classes that modules are given, which keep references to the layers and parameters of a model."""


def require_module(model: object) -> None:
    """Raise unless the model is a module.

    Raises:
        ArgumentError: it is something else, such as an estimator.
    """
    if not isinstance(model, nn.Module):
        hint = "; the network of a fitted estimator is its model_" if hasattr(model, "fit") else ""
        raise ArgumentError(f"model must be a torch.nn.Module; got {type(model).__name__}{hint}")


def refuse_wrapped(model: nn.Module, done: str) -> None:
    """Raise UnsupportedError if a model, or a part of it, is compiled, wrapped or sharded.

    Args:
        model: to be changed for good.
        done: what is to be done with it, as a participle, for the message.

    Raises:
        ArgumentError: the model is not a module.
        UnsupportedError: it is compiled, wrapped or sharded.
    """
    require_module(model)
    for path, module in model.named_modules():
        name, where = type(module).__name__, path or "it"
        if isinstance(module, torch.jit.ScriptModule) or module._compiled_call_impl is not None:
            raise UnsupportedError(
                f"model must be {done} before it is compiled; {where} is a compiled {name}"
            )
        if any(base.__name__ in WRAPPERS for base in type(module).__mro__):
            raise UnsupportedError(f"model must be {done} before it is wrapped; {where} is of type {name}")
        for tensor in module._parameters.values():
            if type(tensor).__name__ == "DTensor":
                raise UnsupportedError(
                    f"model must be {done} before it is sharded; {where} has parameters of type DTensor"
                )
