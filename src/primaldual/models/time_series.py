"""A transformer that reads one multivariate time series and gives one vector of outputs."""

import torch
from torch import Tensor, nn

from primaldual.errors import ArgumentError, ShapeError
from primaldual.models.embeddings import EMBEDDINGS
from primaldual.models.heads import HEADS
from primaldual.nn.encoder import Encoder
from primaldual.primal.problem import PrimalProblem


class TimeSeriesTransformer(nn.Module):
    """An embedding, learnable positions, post-norm blocks, a head.

    z_i = embedding(x)_i + p_i,  out = head(encoder(z))

    Padding is set to zero before the first layer, blocked as a key in every attention and left out by the
    head, so nothing there matters, not even NaN.

    Args:
        channels: channels of the series.
        length: longest series, in time points; longer inputs raise.
        outputs: number of outputs (classes, or 1 for a regression).
        embed_dim: width; a multiple of num_heads.
        num_heads: attention heads.
        num_layers: blocks.
        feedforward_dim: width inside the feed-forward networks.
        dropout: share of values set to zero while training, in [0, 1).
        attention: spec such as "bn+sh", or a `PrimalProblem`.
        head: "flatten" (own weights for every time point) or "mean" (the average over time).
        embedding: "linear" (of every time point) or "convolution" (two convolutions over 7 time points).

    Raises:
        ArgumentError: a size below 1, a dropout outside [0, 1), or an unknown head or embedding.
        SpecError: an attention spec that cannot be read.

    Example:
        >>> model = TimeSeriesTransformer(channels=3, length=20, outputs=2, attention="bn")
        >>> model(torch.randn(4, 16, 3)).shape
        torch.Size([4, 2])
    """

    def __init__(
        self,
        channels: int,
        length: int,
        outputs: int,
        *,
        embed_dim: int = 64,
        num_heads: int = 4,
        num_layers: int = 2,
        feedforward_dim: int = 128,
        dropout: float = 0.1,
        attention: "str | PrimalProblem" = "softmax",
        head: str = "flatten",
        embedding: str = "linear",
    ) -> None:
        super().__init__()
        sizes = {
            "channels": channels,
            "length": length,
            "outputs": outputs,
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
        if not isinstance(dropout, int | float) or not 0 <= dropout < 1:
            raise ArgumentError(f"dropout must lie in [0, 1); got {dropout!r}")
        if head not in HEADS:
            raise ArgumentError(f"head must be one of {', '.join(HEADS)}; got {head!r}")
        if embedding not in EMBEDDINGS:
            raise ArgumentError(f"embedding must be one of {', '.join(EMBEDDINGS)}; got {embedding!r}")
        self.channels = channels
        self.length = length
        self.embedding = EMBEDDINGS[embedding](channels, embed_dim)
        self.positions = nn.Parameter(torch.empty(length, embed_dim))
        self.dropout = nn.Dropout(dropout)
        self.encoder = Encoder(num_layers, embed_dim, num_heads, feedforward_dim, dropout, attention)
        self.head = HEADS[head](length, embed_dim, outputs)
        nn.init.normal_(self.positions, std=0.02)

    def forward(self, values: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """Outputs for a batch of series.

        Args:
            values: (batch, time points, channels).
            padding_mask: (batch, time points), True at padding; None when there is none.

        Returns:
            (batch, outputs): logits of the classes, or predicted values.

        Raises:
            ShapeError: wrong number of channels, a mask of another shape, or a series longer than ``length``.
        """
        if values.ndim != 3 or values.shape[2] != self.channels:
            raise ShapeError(
                f"values must be (batch, time points, {self.channels} channels); got {tuple(values.shape)}"
            )
        if values.shape[1] > self.length:
            raise ShapeError(
                f"values must have at most {self.length} time points, the longest series the positions were "
                f"made for; got {values.shape[1]}"
            )
        if padding_mask is not None:
            if padding_mask.shape != values.shape[:2]:
                raise ShapeError(
                    f"padding_mask must be {tuple(values.shape[:2])} like values; "
                    f"got {tuple(padding_mask.shape)}"
                )
            values = values.masked_fill(padding_mask.unsqueeze(-1), 0.0)
        hidden = self.dropout(self.embedding(values, padding_mask) + self.positions[: values.shape[1]])
        outputs: Tensor = self.head(self.encoder(hidden, padding_mask), padding_mask)
        return outputs
