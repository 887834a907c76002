"""Windows of a text as the training loop takes them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from primaldual.training.randomness import derive_seed


@dataclass(frozen=True)
class TokenBatch:
    """A batch of windows.

    Attributes:
        tokens: (cases, context).
        targets: (cases, context), the token after each.
        weights: (cases,), all 1.
    """

    tokens: Tensor
    targets: Tensor
    weights: Tensor

    def __len__(self) -> int:
        """Number of windows."""
        return len(self.tokens)

    @property
    def inputs(self) -> tuple[Tensor]:
        """Arguments of the model."""
        return (self.tokens,)

    def to(self, device: torch.device) -> TokenBatch:
        """The same on another device."""
        return TokenBatch(self.tokens.to(device), self.targets.to(device), self.weights.to(device))


@dataclass(frozen=True)
class TokenWindows:
    """Consecutive windows of a text, each predicting the token after every one of its own.

    Attributes:
        tokens: (tokens,), at least context + 1.
        context: tokens of a window.
        shifted: windows start at another place in every epoch, of which a window's length is set aside.

    Example:
        >>> windows = TokenWindows(torch.arange(11), context=3)
        >>> len(windows), next(windows.load([torch.tensor([1])], seed=0)).targets.tolist()
        (3, [[4, 5, 6]])
    """

    tokens: Tensor
    context: int
    shifted: bool = False

    def __len__(self) -> int:
        """Number of windows."""
        whole = (len(self.tokens) - 1) // self.context
        return max(whole - 1, 1) if self.shifted else whole

    @property
    def lengths(self) -> Tensor:
        """All alike."""
        return torch.full((len(self),), self.context)

    @property
    def weights(self) -> Tensor:
        """All 1."""
        return torch.ones(len(self))

    def load(self, batches: Sequence[Tensor], seed: int) -> Iterator[TokenBatch]:
        """See `primaldual.training.Data.load`; the shift of an epoch depends on its seed alone."""
        spare = len(self.tokens) - 1 - len(self) * self.context
        start = derive_seed(seed, 0) % min(self.context, spare + 1) if self.shifted else 0
        offsets = torch.arange(self.context + 1)
        for cases in batches:
            found = self.tokens[start + cases[:, None] * self.context + offsets].long()
            yield TokenBatch(found[:, :-1], found[:, 1:], torch.ones(len(cases)))

    def fingerprint(self) -> bytes:
        """A digest of the tokens and the length of windows."""
        digest = hashlib.sha256(f"{self.context} {self.shifted} {self.tokens.dtype}".encode())
        digest.update(self.tokens.numpy().tobytes())
        return digest.digest()
