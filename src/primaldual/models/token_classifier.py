"""Classifiers of sequences of tokens, and of pairs of them."""

from typing import Any

import torch
from torch import Tensor, nn

from primaldual.errors import ArgumentError
from primaldual.models.token_encoder import TokenEncoder


class TokenClassifier(nn.Module):
    """out = W2 GELU(W1 z + b1) + b2, z the vector that a `TokenEncoder` makes of a sequence.

    Args:
        vocabulary: tokens are numbers below it.
        length: longest sequence.
        outputs: number of outputs.
        feedforward_dim: width inside the feed-forward networks and the head.
        sizes: other arguments of `TokenEncoder`.

    Raises:
        ArgumentError: see `TokenEncoder`; fewer than one output.

    Example:
        >>> model = TokenClassifier(16, 30, outputs=10, embed_dim=8, attention="bn+sh(1,2)")
        >>> model(torch.randint(16, (3, 20))).shape
        torch.Size([3, 10])
    """

    def __init__(
        self, vocabulary: int, length: int, outputs: int, *, feedforward_dim: int = 128, **sizes: Any
    ) -> None:
        super().__init__()
        self.encoder = TokenEncoder(vocabulary, length, feedforward_dim=feedforward_dim, **sizes)
        self.head = _head(self.encoder.embed_dim, feedforward_dim, outputs)

    def forward(self, tokens: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """Logits (batch, outputs) of tokens (batch, length); see `TokenEncoder.forward`."""
        logits: Tensor = self.head(self.encoder(tokens, padding_mask))
        return logits


class TokenPairClassifier(nn.Module):
    """A dual encoder: one `TokenEncoder` makes a vector of each sequence, and they meet in the head alone.

        out = W2 GELU(W1 [y, z, y * z, y - z] + b1) + b2

    Args:
        vocabulary: tokens are numbers below it.
        length: longest sequence.
        outputs: number of outputs.
        feedforward_dim: width inside the feed-forward networks and the head.
        sizes: other arguments of `TokenEncoder`.

    Raises:
        ArgumentError: see `TokenEncoder`; fewer than one output.

    Example:
        >>> model = TokenPairClassifier(256, 30, outputs=2, embed_dim=8)
        >>> model(torch.randint(256, (3, 20)), None, torch.randint(256, (3, 30)), None).shape
        torch.Size([3, 2])
    """

    def __init__(
        self, vocabulary: int, length: int, outputs: int, *, feedforward_dim: int = 128, **sizes: Any
    ) -> None:
        super().__init__()
        self.encoder = TokenEncoder(vocabulary, length, feedforward_dim=feedforward_dim, **sizes)
        self.head = _head(4 * self.encoder.embed_dim, feedforward_dim, outputs)

    def forward(
        self,
        first: Tensor,
        first_padding: Tensor | None,
        second: Tensor,
        second_padding: Tensor | None,
    ) -> Tensor:
        """Logits (batch, outputs) of pairs; see `TokenEncoder.forward` for what a sequence and its mask are."""
        one, other = self.encoder(first, first_padding), self.encoder(second, second_padding)
        logits: Tensor = self.head(torch.cat([one, other, one * other, one - other], -1))
        return logits


def _head(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    if isinstance(outputs, bool) or not isinstance(outputs, int) or outputs < 1:
        raise ArgumentError(f"outputs must be an integer of at least 1; got {outputs!r}")
    return nn.Sequential(nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, outputs))
