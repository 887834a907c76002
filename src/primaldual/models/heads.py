"""Heads: from a sequence of vectors to one vector of outputs, padding left out."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class Head(nn.Module):
    """Reads outputs off a sequence; a subclass states ``forward``.

    Args:
        length: longest sequence.
        embed_dim: width of the sequence.
        outputs: number of outputs.
    """

    def __init__(self, length: int, embed_dim: int, outputs: int) -> None:
        super().__init__()
        self.length = length
        self.embed_dim = embed_dim
        self.outputs = outputs

    def forward(self, hidden: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """(batch, length, embed_dim) and a mask that is True at padding -> (batch, outputs)."""
        raise NotImplementedError


class MeanHead(Head):
    """out = W mean_{i not padded} x_i + b.

    Example:
        >>> MeanHead(length=5, embed_dim=8, outputs=3)(torch.randn(2, 4, 8)).shape
        torch.Size([2, 3])
    """

    def __init__(self, length: int, embed_dim: int, outputs: int) -> None:
        super().__init__(length, embed_dim, outputs)
        self.linear = nn.Linear(embed_dim, outputs)

    def forward(self, hidden: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """Average the positions that are not padding; a sequence of padding alone averages to zero."""
        if padding_mask is None:
            padding_mask = torch.zeros(hidden.shape[:2], dtype=torch.bool, device=hidden.device)
        valid = (~padding_mask).unsqueeze(-1)
        total = hidden.where(valid, hidden.new_zeros(())).sum(1)
        outputs: Tensor = self.linear(total / valid.sum(1).clamp(min=1))
        return outputs


class FlattenHead(Head):
    """out = sum_{i not padded} W_i x_i + b: every position has its own weights.

    A shorter sequence uses the first weights, so what follows it never matters.

    Example:
        >>> FlattenHead(length=5, embed_dim=8, outputs=3)(torch.randn(2, 4, 8)).shape
        torch.Size([2, 3])
    """

    def __init__(self, length: int, embed_dim: int, outputs: int) -> None:
        super().__init__(length, embed_dim, outputs)
        self.linear = nn.Linear(length * embed_dim, outputs)

    def forward(self, hidden: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """Weigh every position that is not padding."""
        if padding_mask is not None:
            hidden = hidden.masked_fill(padding_mask.unsqueeze(-1), 0.0)
        used = hidden.shape[1] * self.embed_dim
        return nn.functional.linear(hidden.flatten(1), self.linear.weight[:, :used], self.linear.bias)


HEADS: Mapping[str, type[Head]] = {"mean": MeanHead, "flatten": FlattenHead}
"""Heads by name."""
