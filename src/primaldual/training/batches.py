"""What the loop asks of data, and how a batch is divided over processes and accumulated pieces."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import torch
from torch import Tensor


class Batch(Protocol):
    """Cases on their way through a model, which is called as ``model(*batch.inputs)``."""

    @property
    def inputs(self) -> tuple[Tensor | None, ...]:
        """Arguments of the model."""

    @property
    def targets(self) -> Tensor:
        """(cases,), or (cases, classes) for probabilities."""

    @property
    def weights(self) -> Tensor:
        """(cases,): each case's share in the loss."""

    def __len__(self) -> int:
        """Number of cases."""

    def to(self, device: torch.device) -> Self:
        """The same on another device."""


class Data(Protocol):
    """A data set that the loop can train on."""

    @property
    def lengths(self) -> Tensor:
        """(cases,): cases of similar length share a batch."""

    @property
    def weights(self) -> Tensor:
        """(cases,): each case's share in the loss."""

    def __len__(self) -> int:
        """Number of cases."""

    def load(self, batches: Sequence[Tensor], seed: int) -> Iterator[Batch]:
        """One batch for each tensor of case numbers, in this order.

        What the data set draws for a case depends on ``seed`` and the case alone, so that it is the same in every
        process and after a resumption.
        """

    def fingerprint(self) -> bytes:
        """The same for the same data set."""


@dataclass(frozen=True)
class Piece:
    """The cases of a batch that one process computes at once.

    Attributes:
        cases: their numbers; never empty, because all processes run the model equally often.
        counts: False where the batch has too few cases for all its pieces, and this one only repeats a case.
        weight: sum of the weights of the whole batch.
    """

    cases: Tensor
    counts: bool
    weight: float


def pieces(
    batches: Sequence[Tensor], weights: Tensor, process: int, processes: int, accumulation: int
) -> list[Piece]:
    """The pieces of one process, ``accumulation`` for every batch.

    Args:
        batches: case numbers of every step, over all processes.
        weights: (cases,) of the whole data set.
        process: number of this process.
        processes: how many there are.
        accumulation: pieces that a process computes one after the other for a step.

    Example:
        >>> found = pieces([torch.tensor([4, 1, 3])], torch.ones(5), process=1, processes=2, accumulation=1)
        >>> [(piece.cases.tolist(), piece.counts, piece.weight) for piece in found]
        [([1], True, 3.0)]
    """
    parts = processes * accumulation
    found = []
    for batch in batches:
        weight = float(weights[batch].sum())
        for turn in range(accumulation):
            cases = batch[process * accumulation + turn :: parts]
            counts = len(cases) > 0
            found.append(Piece(cases if counts else batch[:1], counts, weight))
    return found
