"""The exponential moving average of the weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor


class WeightAverage:
    """Exponential moving average of all floating-point weights and buffers; under FSDP of this process's parts.

        a_0 = w_0,   a_t = d_t a_(t-1) + (1 - d_t) w_t,   d_t = min(decay, (1 + t) / (10 + t))

    The smaller d_t of the first steps lets the average leave the initial weights. Integer buffers are copied.

    Args:
        model: in training; its weights are watched in place.
        decay: the largest d_t, in [0, 1).

    Example:
        >>> layer = nn.Linear(1, 1, bias=False)
        >>> _ = nn.init.zeros_(layer.weight)
        >>> average = WeightAverage(layer, decay=0.5)
        >>> _ = nn.init.ones_(layer.weight)
        >>> average.update(step=1000)
        >>> with average.in_place():
        ...     layer.weight.item()
        0.5
        >>> layer.weight.item()
        1.0
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self._weights = model.state_dict()
        self._average = {name: tensor.clone() for name, tensor in self._weights.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after a step, counted from 1."""
        decay = min(self.decay, (1 + step) / (10 + step))
        moving = [name for name, tensor in self._weights.items() if tensor.is_floating_point()]
        if moving:
            torch._foreach_lerp_(
                [self._average[name] for name in moving], [self._weights[name] for name in moving], 1 - decay
            )
        for name in self._weights.keys() - set(moving):
            self._average[name].copy_(self._weights[name])

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Give the model the average, and its own weights back at the end."""
        former = {name: tensor.clone() for name, tensor in self._weights.items()}
        self._copy(self._average, self._weights)
        try:
            yield
        finally:
            self._copy(former, self._weights)

    def tensors(self) -> Mapping[str, Tensor]:
        """The average by name; where processes hold parts of it, all of them must call."""
        return {
            name: tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
            for name, tensor in self._average.items()
        }

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue from an average of `tensors`."""
        parts = {
            name: distribute_tensor(tensors[name].to(own.device), own.device_mesh, own.placements)
            if isinstance(own, DTensor)
            else tensors[name]
            for name, own in self._average.items()
        }
        self._copy(parts, self._average)

    @staticmethod
    @torch.no_grad()
    def _copy(source: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> None:
        for name, tensor in target.items():
            tensor.copy_(source[name])
