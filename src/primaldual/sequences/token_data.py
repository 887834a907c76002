"""Token sets as the training loop takes them: padded batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from primaldual.sequences.token_sets import TokenSet


@dataclass(frozen=True)
class TokenBatch:
    """A batch of sequences, or of pairs of them.

    Attributes:
        inputs: (cases, length) tokens and (cases, length) padding or None, once or for both sequences of a pair.
        targets: (cases,) numbers of classes.
        weights: (cases,), all 1.
    """

    inputs: tuple[Tensor | None, ...]
    targets: Tensor
    weights: Tensor

    def __len__(self) -> int:
        """Number of cases."""
        return len(self.targets)

    def to(self, device: torch.device) -> TokenBatch:
        """The same on another device."""
        moved = tuple(None if one is None else one.to(device) for one in self.inputs)
        return TokenBatch(moved, self.targets.to(device), self.weights.to(device))


@dataclass(frozen=True)
class TokenData:
    """A token set for :func:`primaldual.training.train`; nothing is drawn.

    Attributes:
        cases: with their labels.

    Example:
        >>> from primaldual.sequences.token_sets import bounds_of
        >>> tokens = np.array([5, 6, 7, 8, 9], dtype=np.uint8)
        >>> found = TokenSet("two", ("no", "yes"), 10, tokens, bounds_of([2, 3]), np.array([0, 1]), "")
        >>> [batch] = TokenData(found).load([torch.tensor([0, 1])], seed=0)
        >>> batch.inputs
        (tensor([[5, 6, 0], [7, 8, 9]]), tensor([[False, False,  True], [False, False, False]]))
    """

    cases: TokenSet

    def __len__(self) -> int:
        """Number of cases."""
        return len(self.cases)

    @property
    def lengths(self) -> Tensor:
        """(cases,): of the longest sequence of each."""
        return torch.from_numpy(self.cases.lengths)

    @property
    def weights(self) -> Tensor:
        """All 1."""
        return torch.ones(len(self))

    def fingerprint(self) -> bytes:
        """Of tokens and labels."""
        return self.cases.digest.encode()

    def load(self, batches: Sequence[Tensor], seed: int) -> Iterator[TokenBatch]:
        """See `primaldual.training.Data.load`."""
        del seed
        return map(self._batch, batches)

    def _batch(self, numbers: Tensor) -> TokenBatch:
        chosen = numbers.numpy()
        sequences = range(2 if self.cases.paired else 1)
        inputs = tuple(one for number in sequences for one in self._padded(chosen, number))
        targets = torch.from_numpy(self.cases.labels[chosen])
        return TokenBatch(inputs, targets, torch.ones(len(chosen)))

    def _padded(self, chosen: np.ndarray, number: int) -> tuple[Tensor, Tensor | None]:
        """Padded at the end with token 0; without a mask where nothing is, as attention is faster then."""
        starts, ends = self.cases.bounds[chosen, number].T
        lengths = ends - starts
        tokens = np.zeros((len(chosen), lengths.max()), dtype=np.int64)
        for row, (start, end) in zip(tokens, zip(starts, ends, strict=True), strict=True):
            row[: end - start] = self.cases.tokens[start:end]
        padding = np.arange(tokens.shape[1]) >= lengths[:, None]
        return torch.from_numpy(tokens), torch.from_numpy(padding) if padding.any() else None
