"""What is kept of past tokens: named tensors with the batch in front, sequences with room to grow."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

COEFFICIENTS = "coefficients"
SEQUENCES = ("keys", "values", "queries", COEFFICIENTS)
INPUT = "input_"
"""What stands before the name of an input per token, which is a sequence too."""

LEAST = 16


def is_sequence(name: str) -> bool:
    """Whether the tensor of this name, which may follow that of components, has a slot for every pair in dimension 2.

    Example:
        >>> is_sequence("0.keys"), is_sequence("input_log_gate"), is_sequence("sums")
        (True, True, False)
    """
    own = name.rpartition(".")[2]
    return own in SEQUENCES or own.startswith(INPUT)


class Memory(dict[str, Tensor]):
    """Tensors by name, the batch first; the sequences, see :func:`is_sequence`, have a slot for every pair in dimension 2.

    Attributes:
        children: what the components of this one's owner keep.
    """

    def __init__(
        self, tensors: dict[str, Tensor] | None = None, children: list[Memory] | None = None
    ) -> None:
        super().__init__(tensors or {})
        self.children = children or []

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """All tensors, those of the children as ``number.name``."""
        yield from self.items()
        for number, child in enumerate(self.children):
            for name, tensor in child.tensors():
                yield f"{number}.{name}", tensor

    def map(self, change: Callable[[str, Tensor], Tensor], prefix: str = "") -> Memory:
        """Another memory of what a function of name and tensor returns; names are those of :meth:`tensors`."""
        changed = {name: change(prefix + name, tensor) for name, tensor in self.items()}
        children = [child.map(change, f"{prefix}{number}.") for number, child in enumerate(self.children)]
        return Memory(changed, children)


def grow(memory: Memory, name: str, slots: int) -> Tensor:
    """The sequence of this name with room for at least this number of pairs; it doubles when it is full."""
    held = memory[name]
    if slots <= held.shape[2]:
        return held
    size = max(slots, 2 * held.shape[2], LEAST)
    with torch.inference_mode(False):  # so that it can be written to outside inference mode too
        larger = held.new_zeros(*held.shape[:2], size, held.shape[3])
    larger[:, :, : held.shape[2]] = held
    memory[name] = larger
    return larger


def write(memory: Memory, name: str, tensor: Tensor, first: list[int]) -> None:
    """Write (batch, heads, n, D) to the slots first[b], first[b] + 1, ... of every row."""
    count = tensor.shape[2]
    held = grow(memory, name, max(first) + count)
    if len(set(first)) == 1:
        held[:, :, first[0] : first[0] + count] = tensor
        return
    rows = torch.arange(len(first), device=tensor.device)[:, None]
    slots = torch.tensor(first, device=tensor.device)[:, None] + torch.arange(count, device=tensor.device)
    held.transpose(1, 2)[rows, slots] = tensor.transpose(1, 2).to(held.dtype)
