"""Transformer blocks around the library's attention."""

from __future__ import annotations

from torch import Tensor, nn

from primaldual.nn.carried_values import CarriedValues
from primaldual.nn.multihead import MultiheadAttention
from primaldual.primal.problem import PrimalProblem
from primaldual.primal.token_inputs import check_given


class EncoderBlock(nn.Module):
    """Attention, then a feed-forward network, each added to its input and normalised afterwards.

    h = LayerNorm(x + Attention(x)),  out = LayerNorm(h + W2 GELU(W1 h))

    With ``norm_first`` the branches are normalised instead:

    h = x + Attention(LayerNorm(x)),  out = h + W2 GELU(W1 LayerNorm(h))

    Dropout acts on the two branches and inside the feed-forward network, never on the attention weights,
    because factored attentions do not form them.

    Args:
        embed_dim: width of the sequence.
        num_heads: attention heads; must divide embed_dim.
        feedforward_dim: width inside the feed-forward network.
        dropout: share of branch outputs set to zero while training.
        attention: spec such as "bn+sh", or a problem.
        norm_first: normalise the inputs of the two branches, not the sums.

    Raises:
        UnsupportedError: an attention that needs more of every token than its layer and the block before make of it.

    Example:
        >>> import torch
        >>> block = EncoderBlock(8, 2, 16, attention="bn")
        >>> block(torch.randn(3, 5, 8)).shape
        torch.Size([3, 5, 8])
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        feedforward_dim: int,
        dropout: float = 0.0,
        attention: str | PrimalProblem = "softmax",
        norm_first: bool = False,
    ) -> None:
        super().__init__()
        self.attention = MultiheadAttention(embed_dim, num_heads, batch_first=True, attention=attention)
        check_given(
            self.attention.problem.spec(), self.attention.problem.token_inputs, "a block", stacked=True
        )
        self.attention_norm = nn.LayerNorm(embed_dim)
        self.feedforward = nn.Sequential(
            nn.Linear(embed_dim, feedforward_dim),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(feedforward_dim, embed_dim),
        )
        self.feedforward_norm = nn.LayerNorm(embed_dim)
        self.dropout = nn.Dropout(dropout)
        self.norm_first = norm_first

    def forward(
        self, inputs: Tensor, padding_mask: Tensor | None = None, carried: CarriedValues | None = None
    ) -> Tensor:
        """Mix the sequence; (batch, length, embed_dim) in and out.

        Args:
            inputs: the sequence.
            padding_mask: (batch, length), True at padding, which no position attends to.
            carried: the values of the block before, changed in place; None = this is the first.
        """
        if self.norm_first:
            hidden = inputs + self._mixed(self.attention_norm(inputs), padding_mask, carried)
            return hidden + self.dropout(self.feedforward(self.feedforward_norm(hidden)))
        hidden = self.attention_norm(inputs + self._mixed(inputs, padding_mask, carried))
        outputs: Tensor = self.feedforward_norm(hidden + self.dropout(self.feedforward(hidden)))
        return outputs

    def _mixed(self, inputs: Tensor, padding_mask: Tensor | None, carried: CarriedValues | None) -> Tensor:
        carried = carried or CarriedValues.between([self.attention])
        given = None if carried is None else carried.inputs(self.attention, inputs)
        options = {} if given is None else {"inputs": given}  # other attentions than the library's take none
        mixed, _ = self.attention(
            inputs, inputs, inputs, key_padding_mask=padding_mask, need_weights=False, **options
        )
        dropped: Tensor = self.dropout(mixed)
        return dropped


class Encoder(nn.Module):
    """``num_layers`` blocks of `EncoderBlock`, one after the other; no parameters are shared.

    Args:
        num_layers: number of blocks, 1 or more.
        embed_dim: width of the sequence.
        num_heads: attention heads; must divide embed_dim.
        feedforward_dim: width inside the feed-forward networks.
        dropout: see `EncoderBlock`.
        attention: spec such as "bn+sh", or a problem; each block has its own copy.
        norm_first: see `EncoderBlock`; nothing is normalised after the last block then.

    Example:
        >>> import torch
        >>> Encoder(2, 8, 2, 16)(torch.randn(3, 5, 8)).shape
        torch.Size([3, 5, 8])
    """

    def __init__(
        self,
        num_layers: int,
        embed_dim: int,
        num_heads: int,
        feedforward_dim: int,
        dropout: float = 0.0,
        attention: str | PrimalProblem = "softmax",
        norm_first: bool = False,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            EncoderBlock(embed_dim, num_heads, feedforward_dim, dropout, attention, norm_first)
            for _ in range(num_layers)
        )

    def forward(self, inputs: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """Run all blocks; see `EncoderBlock.forward`."""
        carried = CarriedValues.between(layer.attention for layer in self.blocks())
        for layer in self.layers:
            inputs = layer(inputs, padding_mask, carried)
        return inputs

    def blocks(self) -> list[EncoderBlock]:
        """The blocks in their order."""
        return [layer for layer in self.layers if isinstance(layer, EncoderBlock)]
