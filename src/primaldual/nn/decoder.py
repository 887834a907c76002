"""Pre-norm causal blocks around the library's attention."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import gelu

from primaldual.nn.carried_values import CarriedValues
from primaldual.nn.multihead import MultiheadAttention
from primaldual.primal.decoding.state import DecodingState
from primaldual.primal.problem import PrimalProblem
from primaldual.primal.token_inputs import Inputs, check_given


class DecoderBlock(nn.Module):
    """Causal attention, then a feed-forward network, each on a normalised input and added to it.

        h = x + Attention(LayerNorm(x)),  out = h + W2 GELU(W1 LayerNorm(h))

    Args:
        embed_dim: width of the sequence.
        num_heads: query heads.
        feedforward_dim: width inside the feed-forward network.
        dropout: share of branch outputs set to zero while training.
        attention: a spec, or a problem.
        kv_heads: key and value heads, dividing ``num_heads``; None = ``num_heads``.

    Raises:
        UnsupportedError: an attention that needs more of every token than its layer and the block before make of it.

    Example:
        >>> import torch
        >>> block = DecoderBlock(8, 2, 16, attention="bn+sh(1,2)", kv_heads=1)
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
        kv_heads: int | None = None,
    ) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(embed_dim)
        self.attention = MultiheadAttention(
            embed_dim, num_heads, batch_first=True, attention=attention, kv_heads=kv_heads
        )
        check_given(
            self.attention.problem.spec(), self.attention.problem.token_inputs, "a block", stacked=True
        )
        self.feedforward_norm = nn.LayerNorm(embed_dim)
        self.first = nn.Linear(embed_dim, feedforward_dim)
        self.second = nn.Linear(feedforward_dim, embed_dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, inputs: Tensor, carried: CarriedValues | None = None) -> Tensor:
        """Mix the sequence; (batch, length, embed_dim) in and out.

        Args:
            inputs: the sequence.
            carried: the values of the block before, changed in place; None = this is the first.
        """
        normed = self.attention_norm(inputs)
        given = self._given(normed, carried)
        mixed, _ = self.attention(normed, normed, normed, need_weights=False, is_causal=True, inputs=given)
        return self._feed(inputs + self.dropout(mixed))

    def step(self, state: DecodingState, inputs: Tensor, carried: CarriedValues | None = None) -> Tensor:
        """The same for the next tokens, (batch, n, embed_dim), of the sequences in the state."""
        normed = self.attention_norm(inputs)
        given = self._given(normed, carried)
        return self._feed(inputs + self.attention.step(state, normed, given=given))

    def _given(self, tokens: Tensor, carried: CarriedValues | None) -> Inputs | None:
        carried = carried or CarriedValues.between([self.attention])
        return None if carried is None else carried.inputs(self.attention, tokens)

    def last_maps(self) -> tuple[nn.Linear, nn.Linear]:
        """The maps whose outputs are added to the sequence."""
        return self.attention.out_proj, self.second

    def _feed(self, hidden: Tensor) -> Tensor:
        outputs: Tensor = hidden + self.dropout(self.second(gelu(self.first(self.feedforward_norm(hidden)))))
        return outputs
