"""Prediction of the next token: the loss of training, and scores of a text."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from primaldual.errors import DataError
from primaldual.language.alphabets import Alphabet
from primaldual.models import Decoder


class NextToken:
    """Cross-entropy of the next token, the mean over a window; the metric is minus bits per token.

    Example:
        >>> logits, targets = torch.zeros(1, 3, 4), torch.tensor([[0, 1, 2]])
        >>> NextToken().metric(float(NextToken().score(logits, targets)))
        -2.0
    """

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(batch, length, vocabulary), (batch, length) -> (batch,), nats per token."""
        return cross_entropy(outputs.transpose(1, 2), targets, reduction="none").mean(1)

    def score(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Minus bits per token, (batch,)."""
        return -self.loss(outputs, targets) / math.log(2)

    def metric(self, mean_score: float) -> float:
        """The mean."""
        return mean_score

    def __repr__(self) -> str:
        return "NextToken()"


@dataclass(frozen=True)
class TextScores:
    """How well a model predicts a text.

    Attributes:
        tokens: predicted.
        nats: mean of -log p(token).
        bits_per_byte: all of -log2 p, over the bytes of these tokens in UTF-8.
    """

    tokens: int
    nats: float
    bits_per_byte: float

    @property
    def perplexity(self) -> float:
        """exp(nats), per token."""
        return math.exp(min(self.nats, 700.0))


@torch.no_grad()
def token_losses(decoder: Decoder, tokens: Tensor, batch_size: int = 16) -> Tensor:
    """-log p of every token but the first, (tokens - 1,), on the CPU.

    The text is cut into windows of the decoder's context; a token is predicted from those before it in its window
    alone. Prediction i of a window thus sees i + 1 tokens.

    Args:
        decoder: evaluated without dropout, and left in the mode that it was in.
        tokens: int (tokens,), 2 or more.
        batch_size: windows at a time.

    Raises:
        DataError: fewer than two tokens.

    Example:
        >>> decoder = Decoder(vocabulary=4, context=3, embed_dim=4, num_heads=1, num_layers=1)
        >>> token_losses(decoder, torch.tensor([0, 1, 2, 3, 0, 1])).shape
        torch.Size([5])
    """
    if len(tokens) < 2:
        raise DataError(f"text must have 2 tokens or more to predict one; got {len(tokens)}")
    device, training, context = decoder.positions.device, decoder.training, decoder.context
    decoder.eval()
    pieces = list(tokens.unfold(0, context + 1, context).split(batch_size)) if len(tokens) > context else []
    read = (len(tokens) - 1) // context * context
    if read < len(tokens) - 1:
        pieces.append(tokens[None, read:])
    losses = []
    for piece in pieces:
        windows = piece.to(device, torch.long)
        logits = decoder(windows[:, :-1]).float()
        losses.append(cross_entropy(logits.transpose(1, 2), windows[:, 1:], reduction="none"))
    decoder.train(training)
    return torch.cat([one.flatten().cpu() for one in losses])


def scores_of(losses: Tensor, tokens: Tensor, alphabet: Alphabet) -> TextScores:
    """The scores of a text from its `token_losses`.

    Args:
        losses: (tokens - 1,).
        tokens: (tokens,).
        alphabet: of the tokens.
    """
    total = float(losses.double().sum())
    size = alphabet.byte_count(tokens[1:])
    return TextScores(len(losses), total / len(losses), total / math.log(2) / size)
