"""Optimizers by name."""

from collections.abc import Callable, Iterable, Mapping

from torch import nn
from torch.optim import AdamW, Optimizer, RAdam

MakeOptimizer = Callable[[Iterable[nn.Parameter], float, float], Optimizer]
"""(parameters, learning rate, decoupled weight decay) -> optimizer."""


def _radam(parameters: Iterable[nn.Parameter], learning_rate: float, weight_decay: float) -> Optimizer:
    return RAdam(
        parameters, lr=learning_rate, weight_decay=weight_decay, decoupled_weight_decay=True, foreach=True
    )


def _adamw(parameters: Iterable[nn.Parameter], learning_rate: float, weight_decay: float) -> Optimizer:
    return AdamW(parameters, lr=learning_rate, weight_decay=weight_decay, fused=True)


OPTIMIZERS: Mapping[str, MakeOptimizer] = {"radam": _radam, "adamw": _adamw}
"""Optimizers by name; fused or ``foreach`` steps spare the loop over parameters in Python, which small
models feel."""
