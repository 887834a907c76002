"""A causal decoder: tokens in, logits of the next tokens out, at once or step by step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from primaldual.errors import ArgumentError, ShapeError, UnsupportedError
from primaldual.kernels.arguments import finite, whole
from primaldual.kernels.modes import in_graph
from primaldual.nn.carried_values import CarriedValues
from primaldual.nn.decoder import DecoderBlock
from primaldual.primal.decoding.state import DecodingState
from primaldual.primal.problem import PrimalProblem

_TOKENS, _POSITIONS = 0.5, 0.1
"""Deviations of the first embeddings; smaller ones drown in what the first blocks add, and a short run learns little."""


@dataclass
class DecoderState:
    """What a `Decoder` keeps of a batch of sequences of one length.

    Attributes:
        layers: the decoding state of every layer.
        length: tokens so far.
    """

    layers: list[DecodingState]
    length: int = 0

    @property
    def nbytes(self) -> int:
        """Bytes that all layers hold for the tokens so far."""
        return sum(state.nbytes for state in self.layers)


class Decoder(nn.Module):
    """A pre-norm transformer decoder with learned positions and any attention that decodes step by step.

        x_i = E[token_i] + P[i],   x <- block_l(x),   logits_i = U LayerNorm(x_i)

    Args:
        vocabulary: number of tokens.
        context: most tokens of a sequence.
        embed_dim: width of the sequence.
        num_heads: query heads of every layer.
        num_layers: number of blocks, 1 or more.
        feedforward_dim: width inside the feed-forward networks; None = four times ``embed_dim``.
        dropout: see `DecoderBlock`.
        attention: a spec such as "sh(1,2,4,4)", or a problem, of which each block has its own copy; or one for each block.
        kv_heads: key and value heads, which groups of query heads share; None = ``num_heads``.

    Raises:
        ArgumentError: a size that is not an integer of 1 or more, sizes that do not divide, or as many attentions as do not
            match the blocks.
        UnsupportedError: an attention that does not decode step by step, such as one on a grid.

    Example:
        >>> decoder = Decoder(vocabulary=256, context=16, embed_dim=8, num_heads=2, num_layers=1, attention="bn").eval()
        >>> tokens = torch.randint(256, (1, 5))
        >>> state = decoder.init_state(batch=1)
        >>> rows = [decoder.step(state, token) for token in tokens.split(1, 1)]
        >>> torch.allclose(torch.cat(rows, 1), decoder(tokens), atol=1e-5)
        True
    """

    def __init__(
        self,
        vocabulary: int,
        context: int,
        embed_dim: int = 128,
        num_heads: int = 4,
        num_layers: int = 3,
        feedforward_dim: int | None = None,
        dropout: float = 0.0,
        attention: str | PrimalProblem | Sequence[str | PrimalProblem] = "softmax",
        kv_heads: int | None = None,
    ) -> None:
        super().__init__()
        hidden = 4 * whole("embed_dim", embed_dim, 1) if feedforward_dim is None else feedforward_dim
        sizes = {
            "vocabulary": vocabulary,
            "context": context,
            "embed_dim": embed_dim,
            "num_heads": num_heads,
            "num_layers": num_layers,
            "feedforward_dim": hidden,
            "kv_heads": num_heads if kv_heads is None else kv_heads,
        }
        for name, size in sizes.items():
            whole(name, size, 1)
        finite("dropout", dropout, 0, 1)
        attentions = [attention] * num_layers if isinstance(attention, str | PrimalProblem) else attention
        if len(attentions) != num_layers:
            raise ArgumentError(
                f"attention must be one, or one for each of the {num_layers} blocks; got {len(attentions)}"
            )
        self.context = context
        self.layers = nn.ModuleList(
            DecoderBlock(embed_dim, num_heads, hidden, dropout, one, kv_heads) for one in attentions
        )
        self.tokens = nn.Embedding(vocabulary, embed_dim)
        self.positions = nn.Parameter(torch.empty(context, embed_dim))
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(embed_dim)
        self.head = nn.Linear(embed_dim, vocabulary, bias=False)
        self._draw_weights()
        try:
            self.init_state(batch=1)
        except UnsupportedError as error:
            raise UnsupportedError(f"attention must decode step by step: {error}") from error

    @torch.no_grad()
    def _draw_weights(self) -> None:
        """Draw the embeddings, and divide what the 2 L branches add at first by the root of 2 L."""
        nn.init.normal_(self.tokens.weight, std=_TOKENS)
        nn.init.normal_(self.positions, std=_POSITIONS)
        for block in self.blocks():
            for last in block.last_maps():
                last.weight.div_((2 * len(self.layers)) ** 0.5)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits of the token after every token.

        Args:
            tokens: int (batch, length).

        Returns:
            (batch, length, vocabulary).

        Raises:
            ShapeError: another shape, or more tokens than ``context``.
            ArgumentError: no integers; on the CPU also tokens outside of the vocabulary.
        """
        hidden = self.dropout(self._embedded(tokens, 0))
        carried = self._carried()
        for block in self.layers:
            hidden = block(hidden, carried)
        logits: Tensor = self.head(self.norm(hidden))
        return logits

    def init_state(self, batch: int, capacity: int = 64) -> DecoderState:
        """What `step` needs of sequences that have no token yet.

        Args:
            batch: sequences.
            capacity: tokens that there is room for at first; twice as many when they are more.
        """
        return DecoderState([block.attention.init_state(batch, capacity=capacity) for block in self.blocks()])

    @torch.no_grad()
    def step(self, state: DecoderState, tokens: Tensor) -> Tensor:
        """Logits after each of the next tokens, as `forward` gives them for the whole sequences.

        Args:
            state: from `init_state`; changed in place.
            tokens: int (batch, n).

        Returns:
            (batch, n, vocabulary), without gradients.

        Raises:
            ShapeError: another shape, or more tokens in all than ``context``.
            ArgumentError: as `forward`.
        """
        hidden = self._embedded(tokens, state.length)
        carried = self._carried()
        for block, one in zip(self.blocks(), state.layers, strict=True):
            hidden = block.step(one, hidden, carried)
        state.length += tokens.shape[1]
        logits: Tensor = self.head(self.norm(hidden))
        return logits

    def _carried(self) -> CarriedValues | None:
        return CarriedValues.between(block.attention for block in self.blocks())

    def blocks(self) -> list[DecoderBlock]:
        """The blocks in their order."""
        return [block for block in self.layers if isinstance(block, DecoderBlock)]

    def _embedded(self, tokens: Tensor, start: int) -> Tensor:
        if tokens.dim() != 2:
            raise ShapeError(f"tokens must be (batch, length); got shape {tuple(tokens.shape)}")
        self._check_known(tokens)
        end = start + tokens.shape[1]
        if end > self.context:
            raise ShapeError(f"tokens must be at most context = {self.context} in a sequence; got {end}")
        return self.tokens(tokens) + self.positions[start:end]

    def _check_known(self, tokens: Tensor) -> None:
        """Raise ArgumentError for tokens without an embedding; reading them from a GPU would wait for it."""
        size = self.tokens.num_embeddings
        if tokens.dtype not in (torch.int32, torch.int64):
            raise ArgumentError(f"tokens must be int32 or int64; got {tokens.dtype}")
        if in_graph() or tokens.device.type != "cpu" or not tokens.numel():
            return
        least, most = (int(bound) for bound in tokens.aminmax())
        if least < 0 or most >= size:
            raise ArgumentError(
                f"tokens must be integers from 0 to {size - 1}; got {least if least < 0 else most}"
            )
