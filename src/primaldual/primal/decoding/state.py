"""DecodingState: what an attention keeps of the tokens so far."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import torch
from torch import Tensor

from primaldual.errors import ArgumentError, CheckpointError
from primaldual.kernels.statistics import accumulation_dtype
from primaldual.primal.decoding.engines import Group, groups
from primaldual.primal.decoding.memory import SEQUENCES, Memory

if TYPE_CHECKING:
    from primaldual.primal.problem import PrimalProblem


class Sizes(NamedTuple):
    """What every step has in common."""

    batch: int
    heads: int
    kv_heads: int
    head_dim: int
    value_dim: int
    dtype: torch.dtype
    device: torch.device

    @classmethod
    def read(
        cls,
        batch: int,
        heads: int,
        head_dim: int,
        kv_heads: int | None,
        value_dim: int | None,
        dtype: torch.dtype | None,
        device: torch.device | str | None,
    ) -> Self:
        """The sizes, with what is None filled in.

        Raises:
            ArgumentError: a size that is no integer 1 or more, kv_heads that do not divide heads, no floating dtype.
        """
        kv_heads = heads if kv_heads is None else kv_heads
        value_dim = head_dim if value_dim is None else value_dim
        dtype = dtype or torch.get_default_dtype()
        given = {
            "batch": batch,
            "heads": heads,
            "kv_heads": kv_heads,
            "head_dim": head_dim,
            "value_dim": value_dim,
        }
        for name, size in given.items():
            if not isinstance(size, int) or isinstance(size, bool) or size < 1:
                raise ArgumentError(f"{name} must be an integer 1 or more; got {size!r}")
        if heads % kv_heads:
            raise ArgumentError(f"kv_heads must divide heads; got heads {heads} and kv_heads {kv_heads}")
        if not dtype.is_floating_point:
            raise ArgumentError(f"dtype must be a floating type; got {dtype}")
        # A tensor knows its device with its index, as those of the steps do.
        device = torch.empty(0, device=device).device
        return cls(batch, heads, kv_heads, head_dim, value_dim, dtype, device)


class DecodingState:
    """The tokens so far of a batch of sequences, as one attention remembers them.

    Made by :meth:`PrimalProblem.init_state` and changed by :meth:`PrimalProblem.step`. It holds tensors and
    lengths, refers to its problem for everything else, and carries no gradients.

    Attributes:
        spec: of the problem that it belongs to.
        sizes: batch, heads, dimensions, dtype and device of every step.
        memories: the tensors, for each group of heads.

    Example:
        >>> from primaldual import preset
        >>> problem = preset("bn")
        >>> state = problem.init_state(batch=2, heads=4, head_dim=8)
        >>> query, key, value = torch.randn(3, 2, 4, 5, 8).unbind(0)
        >>> _ = problem.step(state, query, key, value)
        >>> state.lengths, state.select([1, 1, 0]).lengths
        ([5, 5], [5, 5, 5])
    """

    def __init__(self, problem: PrimalProblem, sizes: Sizes, capacity: int) -> None:
        self.spec = problem.spec()
        self.sizes = sizes
        self.common: int | None = 0
        self._lengths = [0] * sizes.batch
        self._problem: PrimalProblem | None = problem
        self._groups = groups(problem, sizes.heads, sizes.kv_heads, sizes.head_dim)
        with torch.inference_mode(False):
            self.memories = [_start(group, sizes, capacity) for group in self._groups]

    @property
    def lengths(self) -> list[int]:
        """Tokens of every sequence so far."""
        return self._lengths if self.common is None else [self.common] * self.sizes.batch

    @lengths.setter
    def lengths(self, lengths: list[int]) -> None:
        self.common = lengths[0] if len(set(lengths)) == 1 else None
        self._lengths = lengths

    @property
    def nbytes(self) -> int:
        """Bytes held for the tokens so far: cached pairs, statistics and sums, without the room to grow."""
        total = 0
        for group, memory in zip(self._groups, self.memories, strict=True):
            places = sum(_places(group, memory, self.lengths))
            for name, tensor in memory.tensors():
                shared = name in SEQUENCES
                numbers = places * tensor.shape[1] * tensor.shape[3] if shared else tensor.numel()
                total += numbers * tensor.element_size()
        return total

    @property
    def allocated_nbytes(self) -> int:
        """Bytes of all tensors, the room to grow included."""
        return sum(tensor.nbytes for memory in self.memories for _, tensor in memory.tensors())

    def select(self, rows: Sequence[int] | Tensor) -> DecodingState:
        """A state of some of the sequences, in any order, repeated or left out: beams, finished ones.

        Args:
            rows: their numbers, or a bool tensor (batch,).

        Raises:
            ArgumentError: numbers outside the batch, or none.
        """
        index = torch.as_tensor(rows)
        index = (
            index.nonzero().squeeze(-1)
            if index.dtype == torch.bool and index.shape == (self.sizes.batch,)
            else index
        )
        numbers = index.tolist()
        whole = index.dim() == 1 and not index.is_floating_point() and index.dtype != torch.bool and numbers
        if not whole or not all(0 <= number < self.sizes.batch for number in numbers):
            raise ArgumentError(
                f"rows must be numbers from 0 to {self.sizes.batch - 1}, or a bool tensor ({self.sizes.batch},) with a "
                f"True; got {rows}"
            )
        index = index.to(self.sizes.device)
        chosen = self._with(lambda _, tensor: tensor.index_select(0, index))
        chosen.sizes = self.sizes._replace(batch=len(numbers))
        chosen.lengths = [self.lengths[number] for number in numbers]
        return chosen

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> DecodingState:
        """A state on another device, or for steps of another type; statistics stay at least float32."""
        device = self.sizes.device if device is None else torch.device(device)
        dtype = dtype or self.sizes.dtype

        def moved(name: str, tensor: Tensor) -> Tensor:
            if not tensor.is_floating_point():
                return tensor.to(device, copy=True)
            wanted = dtype if name in SEQUENCES else accumulation_dtype(dtype)
            return tensor.to(device, wanted, copy=True)

        changed = self._with(moved)
        changed.sizes = self.sizes._replace(dtype=dtype, device=device)
        return changed

    def copy(self) -> DecodingState:
        """A state that later steps of this one do not change."""
        return self._with(lambda _, tensor: tensor.clone())

    def state_dict(self) -> dict[str, Tensor]:
        """Everything as tensors by name, without the room to grow; for torch.save or safetensors."""
        found = {
            "spec": torch.frombuffer(bytearray(self.spec.encode()), dtype=torch.uint8).clone(),
            "lengths": torch.tensor(self.lengths),
        }
        for number, (group, memory) in enumerate(zip(self._groups, self.memories, strict=True)):
            for name, tensor in memory.tensors():
                held = tensor
                if name in SEQUENCES:
                    held = tensor[:, :, : max(_places(group, memory, self.lengths), default=0)]
                found[f"{number}.{name}"] = held.detach().clone(memory_format=torch.contiguous_format)
        return found

    def load_state_dict(self, tensors: dict[str, Tensor]) -> Self:
        """Take over what :meth:`state_dict` gave, of the same problem and sizes.

        Raises:
            CheckpointError: tensors of another problem or of other sizes; nothing is changed then.
        """
        saved = bytes(tensors["spec"].tolist()).decode() if "spec" in tensors else None
        if saved != self.spec:
            raise CheckpointError(f"the state is of {self.spec!r}; got tensors of {saved!r}")
        names = {
            f"{number}.{name}" for number, memory in enumerate(self.memories) for name, _ in memory.tensors()
        }
        given = set(tensors) - {"spec", "lengths"}
        if given != names or "lengths" not in tensors:
            raise CheckpointError(
                f"the state needs the tensors {sorted(names)} and lengths; got {sorted(tensors)}"
            )
        memories: list[Memory] = []
        for number, memory in enumerate(self.memories):
            for name, tensor in memory.tensors():
                _check_saved(f"{number}.{name}", name, tensor, tensors)
            memories.append(memory.map(_taken_from(tensors, number)))
        self.memories = memories
        self.lengths = tensors["lengths"].tolist()
        return self

    def groups_for(self, problem: PrimalProblem) -> list[Group]:
        """The groups of heads, for the problem that steps.

        Raises:
            ArgumentError: a problem of another kind than the state's.
        """
        if self._problem is problem:
            return self._groups
        if problem.spec() != self.spec:
            raise ArgumentError(
                f"state must be of {problem.spec()!r}, the problem that steps; got one of {self.spec!r}"
            )
        found = groups(problem, self.sizes.heads, self.sizes.kv_heads, self.sizes.head_dim)
        sizes = self.sizes._replace(device=torch.device("meta"))
        for group, memory in zip(found, self.memories, strict=True):
            needed = {name for name, _ in _start(group, sizes, 0).tensors()}
            if needed - {name for name, _ in memory.tensors()}:
                raise ArgumentError(
                    f"{self.spec} decodes differently in training and in evaluation; got a state made in the other mode"
                )
        self._problem, self._groups = problem, found
        return found

    def _with(self, change: Callable[[str, Tensor], Tensor]) -> DecodingState:
        other = copy(self)
        with torch.inference_mode(False):
            other.memories = [memory.map(change) for memory in self.memories]
        other._lengths = list(self._lengths)
        return other

    def __deepcopy__(self, memo: dict[int, Any]) -> DecodingState:
        return self.copy()

    def __repr__(self) -> str:
        return f"DecodingState({self.spec!r}, batch={self.sizes.batch}, lengths={self.lengths}, {self.nbytes} bytes)"


def _start(group: Group, sizes: Sizes, capacity: int) -> Memory:
    key = torch.empty(sizes.batch, sizes.kv_heads, 0, sizes.head_dim, dtype=sizes.dtype, device=sizes.device)
    value = key.new_empty(sizes.batch, sizes.kv_heads, 0, sizes.value_dim)
    return group.engine.start(group.keys(key), group.keys(value), capacity)


def _places(group: Group, memory: Memory, lengths: list[int]) -> list[int]:
    """Places of the cached sequences that every row has filled."""
    if "dropped" in memory:
        return [length - gone for length, gone in zip(lengths, memory["dropped"].tolist(), strict=True)]
    return [group.engine.places(length) for length in lengths]


def _taken_from(tensors: dict[str, Tensor], number: int) -> Callable[[str, Tensor], Tensor]:
    return lambda name, held: tensors[f"{number}.{name}"].to(held, copy=True)


def _check_saved(full: str, name: str, tensor: Tensor, tensors: dict[str, Tensor]) -> None:
    """Raise CheckpointError unless a saved tensor can stand in the place of one that is held."""
    wanted, given = list(tensor.shape), list(tensors[full].shape)
    if name in SEQUENCES and len(given) == len(wanted):
        wanted[2] = given[2]
    if wanted != given or tensor.dtype != tensors[full].dtype:
        raise CheckpointError(
            f"{full} must be {tuple(wanted)}, {tensor.dtype}; got {tuple(given)}, {tensors[full].dtype}"
        )
