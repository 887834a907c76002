"""A transformer encoder of sequences of tokens."""

import torch
from torch import Tensor, nn

from primaldual.errors import ArgumentError, ShapeError
from primaldual.nn.encoder import Encoder
from primaldual.primal.problem import PrimalProblem


class TokenEncoder(nn.Module):
    """Token and position embeddings, blocks that normalise first, a last norm, and the mean over the sequence.

        x_i = E[t_i] + P[i],   out = mean_{i not padded} LayerNorm(Encoder(x))_i

    Args:
        vocabulary: tokens are numbers below it.
        length: longest sequence.
        embed_dim: width of the sequence.
        num_heads: attention heads; must divide embed_dim.
        num_layers: blocks.
        feedforward_dim: width inside the feed-forward networks.
        dropout: on the embeddings and the branches of the blocks.
        attention: spec such as "bn+sh", or a problem.

    Raises:
        ArgumentError: a size that is not an integer of at least 1, or heads that do not divide the width.

    Example:
        >>> encoder = TokenEncoder(vocabulary=16, length=30, embed_dim=8, num_heads=2)
        >>> encoder(torch.randint(16, (3, 20))).shape
        torch.Size([3, 8])
    """

    def __init__(
        self,
        vocabulary: int,
        length: int,
        embed_dim: int = 64,
        num_heads: int = 2,
        num_layers: int = 2,
        feedforward_dim: int = 128,
        dropout: float = 0.1,
        attention: "str | PrimalProblem" = "softmax",
    ) -> None:
        super().__init__()
        sizes = {
            "vocabulary": vocabulary,
            "length": length,
            "embed_dim": embed_dim,
            "num_heads": num_heads,
            "num_layers": num_layers,
            "feedforward_dim": feedforward_dim,
        }
        for name, size in sizes.items():
            if isinstance(size, bool) or not isinstance(size, int) or size < 1:
                raise ArgumentError(f"{name} must be an integer of at least 1; got {size!r}")
        if embed_dim % num_heads:
            raise ArgumentError(f"embed_dim must be a multiple of num_heads; got {embed_dim} and {num_heads}")
        self.vocabulary, self.length, self.embed_dim = vocabulary, length, embed_dim
        self.embedding = nn.Embedding(vocabulary, embed_dim)
        self.positions = nn.Parameter(torch.empty(length, embed_dim))
        self.dropout = nn.Dropout(dropout)
        self.encoder = Encoder(
            num_layers, embed_dim, num_heads, feedforward_dim, dropout, attention, norm_first=True
        )
        self.norm = nn.LayerNorm(embed_dim)
        for embeddings in (self.embedding.weight, self.positions):  # alike, so that neither drowns the other
            nn.init.normal_(embeddings, std=0.02)

    def forward(self, tokens: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """One vector for each sequence.

        Args:
            tokens: (batch, length), integers; those at padding may be any numbers of the vocabulary.
            padding_mask: (batch, length), True at padding; None when there is none.

        Returns:
            (batch, embed_dim); a sequence of padding alone, or of no token, gives 0.

        Raises:
            ShapeError: tokens of another shape, longer than ``length``, or a mask of another shape.
        """
        if tokens.ndim != 2:
            raise ShapeError(f"tokens must be (batch, length); got {tuple(tokens.shape)}")
        if tokens.shape[1] > self.length:
            raise ShapeError(
                f"tokens must have a length of at most {self.length}, for which the positions were made; "
                f"got {tokens.shape[1]}"
            )
        if padding_mask is not None and padding_mask.shape != tokens.shape:
            raise ShapeError(
                f"padding_mask must be {tuple(tokens.shape)} like tokens; got {tuple(padding_mask.shape)}"
            )
        hidden = self.dropout(self.embedding(tokens) + self.positions[: tokens.shape[1]])
        hidden = self.norm(self.encoder(hidden, padding_mask))
        if padding_mask is None:
            return hidden.mean(1) if tokens.shape[1] else hidden.sum(1)
        valid = (~padding_mask).unsqueeze(-1)
        return hidden.where(valid, 0.0).sum(1) / valid.sum(1).clamp(min=1)
