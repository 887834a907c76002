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


def _adamw_matrices(
    parameters: Iterable[nn.Parameter], learning_rate: float, weight_decay: float
) -> Optimizer:
    """Biases, gains of norms and lone tokens do not decay, as in DeiT and timm."""
    everything = list(parameters)
    groups = [
        {"params": [one for one in everything if _is_vector(one) is vectors], "weight_decay": decay}
        for vectors, decay in ((False, weight_decay), (True, 0.0))
    ]
    return AdamW([group for group in groups if group["params"]], lr=learning_rate, fused=True)


def _is_vector(parameter: nn.Parameter) -> bool:
    return sum(size > 1 for size in parameter.shape) < 2


OPTIMIZERS: Mapping[str, MakeOptimizer] = {
    "radam": _radam,
    "adamw": _adamw,
    "adamw_matrices": _adamw_matrices,
}
"""Optimizers by name; fused or ``foreach`` steps spare the loop over parameters in Python, which small
models feel."""
