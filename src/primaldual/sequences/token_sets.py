"""Labelled sequences of tokens, or pairs of them, in one array of bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from primaldual.errors import DataError

Tokens = npt.NDArray[np.uint8]
Whole = npt.NDArray[np.int64]


@dataclass(frozen=True)
class TokenSet:
    """Labelled cases, each of one sequence or of a pair.

    Attributes:
        name: in words, for messages.
        classes: names, in the order of the model's outputs.
        vocabulary: tokens are numbers below it.
        tokens: of all sequences, one after the other; may be a memory map.
        bounds: (cases, sequences of a case, 2): where a sequence begins and ends in ``tokens``.
        labels: (cases,): numbers of the classes.
        digest: tells these tokens and labels from all others.

    Example:
        >>> tokens = np.array([1, 2, 3, 3, 3], dtype=np.uint8)
        >>> found = TokenSet("two", ("no", "yes"), 4, tokens, bounds_of([2, 3]), np.array([0, 1]), "")
        >>> found.sequence(1, 0), found.lengths
        (array([3, 3, 3], dtype=uint8), array([2, 3]))
    """

    name: str
    classes: tuple[str, ...]
    vocabulary: int
    tokens: Tokens
    bounds: Whole
    labels: Whole
    digest: str

    def __len__(self) -> int:
        """Number of cases."""
        return len(self.labels)

    @property
    def paired(self) -> bool:
        """Whether a case is a pair of sequences."""
        return self.bounds.shape[1] == 2

    @property
    def lengths(self) -> Whole:
        """(cases,): tokens of the longest sequence of a case."""
        return (self.bounds[..., 1] - self.bounds[..., 0]).max(1)

    def sequence(self, case: int, number: int) -> Tokens:
        """One sequence of a case."""
        start, end = self.bounds[case, number]
        return self.tokens[start:end]

    def part(self, numbers: Whole) -> TokenSet:
        """Some of the cases, of the same tokens."""
        digest = hashlib.sha256(self.digest.encode() + numbers.astype(np.int64).tobytes()).hexdigest()[:16]
        return replace(self, bounds=self.bounds[numbers], labels=self.labels[numbers], digest=digest)

    def cut(self, length: int) -> TokenSet:
        """The same cases, of longer sequences the beginnings."""
        starts, ends = self.bounds[..., 0], self.bounds[..., 1]
        bounds = np.stack([starts, np.minimum(ends, starts + length)], -1)
        return replace(self, bounds=bounds, digest=f"{self.digest}:{length}")

    def check_trainable(self) -> None:
        """Refuse a set that no classifier can be trained on.

        Raises:
            DataError: fewer than two classes.
        """
        present = np.unique(self.labels)
        if len(present) < 2:
            only = repr(self.classes[int(present[0])]) if len(present) else "none"
            raise DataError(f"{self.name}: the only class of the training part is {only}; two are needed")


@dataclass(frozen=True)
class Corpus:
    """Everything that is written of a data set, in memory.

    Attributes:
        classes: names.
        vocabulary: tokens are numbers below it.
        tokens: of all sequences, one after the other.
        lengths: (cases, sequences of a case).
        labels: (cases,).
        counts: cases of each part, which lie in this order: training, validation or not, test.
        notes: what a reader of the results must know.
        left_out: names of files that could not be read.
    """

    classes: tuple[str, ...]
    vocabulary: int
    tokens: Tokens
    lengths: Whole
    labels: Whole
    counts: Mapping[str, int]
    notes: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class SequenceParts:
    """The parts of a data set.

    Attributes:
        training: to learn from.
        validation: to choose the best epoch by; None = split off the training part.
        test: read once, at the end.
        notes: what a reader of the results must know.
        left_out: names of files that could not be read.
    """

    training: TokenSet
    validation: TokenSet | None
    test: TokenSet
    notes: tuple[str, ...] = ()
    left_out: tuple[str, ...] = field(default=())

    @classmethod
    def of(cls, whole: TokenSet, described: Mapping[str, Any]) -> SequenceParts:
        """Cut a set into its parts."""
        found, start = {}, 0
        for name, count in described["counts"].items():
            found[name] = whole.part(np.arange(start, start + count))
            start += count
        notes, left_out = (tuple(described[name]) for name in ("notes", "left_out"))
        return cls(found["training"], found.get("validation"), found["test"], notes, left_out)


def bounds_of(lengths: npt.ArrayLike) -> Whole:
    """Where sequences of these lengths begin and end, one after the other.

    Args:
        lengths: (cases,) or (cases, sequences of a case).

    Example:
        >>> bounds_of([[2, 1], [4, 0]]).tolist()
        [[[0, 2], [2, 3]], [[3, 7], [7, 7]]]
    """
    counts = np.asarray(lengths, dtype=np.int64)
    counts = counts[:, None] if counts.ndim == 1 else counts
    ends = np.cumsum(counts).reshape(counts.shape)
    return np.stack([ends - counts, ends], -1)
