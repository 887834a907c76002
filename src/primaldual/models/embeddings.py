"""Embeddings: from the values of a series to a sequence of vectors, padding left out."""

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm, gelu

REACH = 3
"""Time points before and after that one convolution sees."""


class LinearEmbedding(nn.Linear):
    """z_i = W x_i + b.

    Example:
        >>> LinearEmbedding(3, 8)(torch.randn(2, 5, 3)).shape
        torch.Size([2, 5, 8])
    """

    def forward(self, values: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """(batch, time points, channels), 0 at padding -> (batch, time points, width)."""
        del padding_mask
        return super().forward(values)


class ConvolutionalEmbedding(nn.Module):
    """z = gelu(BN(w_2 * gelu(BN(w_1 * x)))): shapes of 7 time points, twice, before the first attention.

    Convolutions see 0 at padding and beyond the ends. Batch normalisation takes its statistics over time points that
    are not padding, in training; of several processes each takes its own.

    Example:
        >>> ConvolutionalEmbedding(3, 8)(torch.randn(2, 5, 3)).shape
        torch.Size([2, 5, 8])
    """

    def __init__(self, channels: int, embed_dim: int) -> None:
        super().__init__()
        widths = (channels, embed_dim, embed_dim)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(before, after, 2 * REACH + 1, padding=REACH, bias=False)
            for before, after in pairwise(widths)
        )
        self.norms = nn.ModuleList(PointNorm(width) for width in widths[1:])

    def forward(self, values: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """(batch, time points, channels), 0 at padding -> (batch, time points, width)."""
        hidden = values
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            hidden = gelu(norm(convolution(hidden.transpose(1, 2)).transpose(1, 2), padding_mask))
            if padding_mask is not None:
                hidden = hidden.masked_fill(padding_mask.unsqueeze(-1), 0.0)
        return hidden


class PointNorm(nn.BatchNorm1d):
    """Batch normalisation over the time points that are not padding, (batch, time points, width)."""

    def forward(self, hidden: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        if not self.training or padding_mask is None:
            return self._normalized(hidden.flatten(0, 1)).view_as(hidden)
        out = torch.zeros_like(hidden, dtype=self.weight.dtype)
        out[~padding_mask] = self._normalized(hidden[~padding_mask]).to(out.dtype)
        return out

    def _normalized(self, rows: Tensor) -> Tensor:
        alone = len(rows) < 2  # which has no variance
        return batch_norm(
            rows,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training and not alone,
            self.momentum or 0.0,
            self.eps,
        )


EMBEDDINGS: Mapping[str, type[LinearEmbedding] | type[ConvolutionalEmbedding]] = {
    "linear": LinearEmbedding,
    "convolution": ConvolutionalEmbedding,
}
"""Embeddings by name."""
