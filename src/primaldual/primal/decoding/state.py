"""DecodingState: what an attention keeps of the tokens so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from typing import Any, Self

import torch
from torch import Tensor

from primaldual.errors import ArgumentError, CheckpointError, UnsupportedError
from primaldual.kernels.statistics import accumulation_dtype
from primaldual.primal.decoding.decodable import DecodableProblem
from primaldual.primal.decoding.fixed_step import FixedStep, served
from primaldual.primal.decoding.head_decoders import HeadDecoder, head_decoders
from primaldual.primal.decoding.memory import SEQUENCES, is_sequence
from primaldual.primal.decoding.rows import cropped_lengths, row_numbers
from primaldual.primal.decoding.sizes import Sizes
from primaldual.primal.decoding.state_dict import loaded_memories, saved_tensors


class DecodingState:
    """What one attention keeps of the tokens so far of a batch of sequences.

    Made by :meth:`PrimalProblem.init_state` and changed by :meth:`PrimalProblem.step`. It holds tensors and
    lengths, refers to its problem for everything else, and carries no gradients.

    Attributes:
        spec: of the problem that it belongs to.
        sizes: batch, heads, dimensions, dtype and device of every step.
        memories: the tensors, for each decoder of some heads.

    Example:
        >>> from primaldual import preset
        >>> problem = preset("bn")
        >>> state = problem.init_state(batch=2, heads=4, head_dim=8)
        >>> query, key, value = torch.randn(3, 2, 4, 5, 8).unbind(0)
        >>> _ = problem.step(state, query, key, value)
        >>> state.lengths, state.select([1, 1, 0]).lengths
        ([5, 5], [5, 5, 5])
    """

    def __init__(
        self, problem: DecodableProblem, sizes: Sizes, capacity: int, croppable: bool = False
    ) -> None:
        self.spec = problem.spec()
        self.sizes = sizes
        self.common: int | None = 0
        self._lengths = [0] * sizes.batch
        self._problem = problem
        self._croppable = croppable
        self._decoders = head_decoders(problem, sizes, croppable)
        self._fixed: FixedStep | None = None
        with torch.inference_mode(False):
            self.memories = [heads.start(sizes, capacity) for heads in self._decoders]

    @property
    def lengths(self) -> list[int]:
        """Tokens of every sequence so far."""
        return self._lengths if self.common is None else [self.common] * self.sizes.batch

    @lengths.setter
    def lengths(self, lengths: list[int]) -> None:
        self.common = lengths[0] if len(set(lengths)) == 1 else None
        self._lengths = lengths
        self._fixed = None

    @property
    def nbytes(self) -> int:
        """Bytes held for the tokens so far: cached pairs, statistics and sums, without the room to grow."""
        total = 0
        for slots, memory in zip(self._filled(), self.memories, strict=True):
            for name, tensor in memory.tensors():
                cached = is_sequence(name)
                numbers = sum(slots) * tensor.shape[1] * tensor.shape[3] if cached else tensor.numel()
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
        numbers = row_numbers(rows, self.sizes.batch)
        index = torch.tensor(numbers, device=self.sizes.device)
        chosen = self._with(lambda _, tensor: tensor.index_select(0, index.to(tensor.device)))
        chosen.sizes = self.sizes._replace(batch=len(numbers))
        chosen.lengths = [self.lengths[number] for number in numbers]
        return chosen

    def crop(self, length: int | Sequence[int] | Tensor) -> Self:
        """Forget all but the first tokens, such as drafts that were rejected in speculative decoding.

        States that keep every key as it came can, as those of softmax do; others when made with ``croppable=True``.

        Args:
            length: tokens that stay, of all sequences or of each.

        Returns:
            The state itself.

        Raises:
            ArgumentError: fewer than 0 tokens, or more than there are.
            UnsupportedError: a state that keeps means, sums or statistics, which cannot be undone.

        Example:
            >>> from primaldual import preset
            >>> problem = preset("bn")
            >>> state = problem.init_state(batch=1, heads=2, head_dim=8, croppable=True)
            >>> tokens = torch.randn(3, 1, 2, 6, 8).unbind(0)
            >>> _ = problem.step(state, *tokens)
            >>> state.crop(4).lengths
            [4]
        """
        wanted = cropped_lengths(length, self.lengths)
        if wanted == self.lengths:
            return self
        names = [name for memory in self.memories for name, _ in memory.tensors()]
        if not all(is_sequence(name) or name.rpartition(".")[2] == "shift" for name in names):
            raise UnsupportedError(
                f"a state of {self.spec!r} keeps means, sums or statistics of its tokens and cannot forget some; accepted "
                "are states made with init_state(..., croppable=True), or a copy() from before"
            )
        for memory in self.memories:
            for name in memory:
                if is_sequence(name):
                    for row, slots in zip(memory[name], wanted, strict=True):
                        row[:, slots:] = 0  # what a mask hides must be finite
        self.lengths = wanted
        return self

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> DecodingState:
        """A state on another device, or for steps of another type; statistics stay at least float32."""
        device = torch.empty(0, device=device or self.sizes.device).device
        dtype = dtype or self.sizes.dtype

        def moved(name: str, tensor: Tensor) -> Tensor:
            if not tensor.is_floating_point():
                return tensor.clone()  # counts, which the host reads
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
        return saved_tensors(self.spec, self.lengths, self.memories, [max(slots) for slots in self._filled()])

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> Self:
        """Take over what :meth:`state_dict` gave, of the same problem and sizes.

        Raises:
            CheckpointError: tensors of another problem, of other sizes, with fewer pairs than their lengths tell, not
                finite, or of negative lengths; nothing is changed then.
        """
        memories = loaded_memories(self.spec, self.memories, tensors)
        lengths = tensors["lengths"].tolist()
        for heads, memory in zip(self._decoders, memories, strict=True):
            needed = max(heads.decoder.filled(memory, lengths))
            held = min((memory[name].shape[2] for name in memory if is_sequence(name)), default=needed)
            if held < needed:
                raise CheckpointError(f"lengths of {lengths} need {needed} keys and values; got {held}")
        self.memories, self.lengths = memories, lengths
        return self

    def decoders_for(self, problem: DecodableProblem) -> list[HeadDecoder]:
        """The decoders of all heads, for the problem that steps.

        Raises:
            ArgumentError: a problem of another kind than the state's.
        """
        if self._problem is problem:
            return self._decoders
        if problem.spec() != self.spec:
            raise ArgumentError(
                f"state must be of {problem.spec()!r}, the problem that steps; got one of {self.spec!r}"
            )
        found = head_decoders(problem, self.sizes, self._croppable)
        sizes = self.sizes._replace(device=torch.device("meta"))
        needed = [[name for name, _ in heads.start(sizes, 0).tensors()] for heads in found]
        if needed != [[name for name, _ in memory.tensors()] for memory in self.memories]:
            raise ArgumentError(
                f"{self.spec} keeps other tensors in training than in evaluation; got a state made in the other mode"
            )
        self._problem, self._decoders, self._fixed = problem, found, None
        return found

    def fixed_step(self) -> FixedStep | None:
        """Steps of one token by kernels whose shapes stay fixed, with room for the next token; None = not served.

        They hold where the tensors lie, until tokens come in another way or the caches must grow.
        """
        shortest, longest = (end(self._lengths) if self.common is None else self.common for end in (min, max))
        if self._fixed is None or longest >= self._fixed.room:
            if not shortest or not served(self._decoders, self.sizes):
                return None
            self._fixed = FixedStep(self._decoders, self.memories, self.sizes, self.lengths)
        return self._fixed

    def took(self, tokens: int = 1) -> None:
        """Count tokens that a fixed step has taken into every sequence."""
        if self.common is None:
            self._lengths = [length + tokens for length in self._lengths]
        else:
            self.common += tokens

    def _filled(self) -> list[list[int]]:
        """For each decoder, the slots of the cached sequences that every row has filled."""
        return [
            heads.decoder.filled(memory, self.lengths)
            for heads, memory in zip(self._decoders, self.memories, strict=True)
        ]

    def _with(self, change: Callable[[str, Tensor], Tensor]) -> DecodingState:
        other = copy(self)
        with torch.inference_mode(False):
            other.memories = [memory.map(change) for memory in self.memories]
        other._lengths = list(self._lengths)
        other._fixed = None
        return other

    def __deepcopy__(self, memo: dict[int, Any]) -> DecodingState:
        return self.copy()

    def __repr__(self) -> str:
        return f"DecodingState({self.spec!r}, batch={self.sizes.batch}, lengths={self.lengths}, {self.nbytes} bytes)"
