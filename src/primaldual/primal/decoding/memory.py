"""What is kept of past tokens: named tensors with the batch in front, sequences with room to grow."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

SEQUENCES = ("keys", "values", "queries")
LEAST = 16


class Memory(dict[str, Tensor]):
    """Tensors by name, the batch first; those named in ``SEQUENCES`` have places for pairs in dimension 2.

    Attributes:
        parts: memories of the parts that this one's owner is made of.
    """

    def __init__(self, tensors: dict[str, Tensor] | None = None, parts: list[Memory] | None = None) -> None:
        super().__init__(tensors or {})
        self.parts = parts or []

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """All tensors, those of the parts under ``number.name``."""
        yield from self.items()
        for number, part in enumerate(self.parts):
            for name, tensor in part.tensors():
                yield f"{number}.{name}", tensor

    def map(self, change: Callable[[str, Tensor], Tensor]) -> Memory:
        """Another memory, of what a function of name and tensor gives; names are those of :meth:`tensors`."""

        def within(number: int) -> Callable[[str, Tensor], Tensor]:
            return lambda name, tensor: change(f"{number}.{name}", tensor)

        changed = {name: change(name, tensor) for name, tensor in self.items()}
        return Memory(changed, [part.map(within(number)) for number, part in enumerate(self.parts)])


def grow(memory: Memory, name: str, places: int) -> Tensor:
    """The sequence of this name with room for so many pairs: twice as long as before when it was too short."""
    held = memory[name]
    if places <= held.shape[2]:
        return held
    size = max(places, 2 * held.shape[2], LEAST)
    with torch.inference_mode(False):  # so that it can be written to outside inference mode too
        larger = held.new_zeros(*held.shape[:2], size, held.shape[3])
    larger[:, :, : held.shape[2]] = held
    memory[name] = larger
    return larger


def write(memory: Memory, name: str, tensor: Tensor, first: list[int], uniform: bool) -> None:
    """Put (batch, heads, n, D) into places first[b], first[b] + 1, ... of every row."""
    count = tensor.shape[2]
    held = grow(memory, name, max(first) + count)
    if uniform:
        held[:, :, first[0] : first[0] + count] = tensor
        return
    rows = torch.arange(len(first), device=tensor.device)[:, None]
    places = torch.tensor(first, device=tensor.device)[:, None] + torch.arange(count, device=tensor.device)
    held.transpose(1, 2)[rows, places] = tensor.transpose(1, 2).to(held.dtype)
