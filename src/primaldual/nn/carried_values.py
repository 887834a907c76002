"""What a stack of blocks hands from one attention to the next: its values."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

import torch
from torch import Tensor, nn

from primaldual.nn.multihead import MultiheadAttention
from primaldual.nn.projection import split_heads
from primaldual.primal.token_inputs import Inputs, TokenInput


class CarriedValues:
    """The values of the block before during one pass through a stack, for attentions that need them, as ``elliptical``.

    The first block has none before it, so it gets what changes nothing.
    """

    def __init__(self) -> None:
        self.former: Tensor | None = None

    @classmethod
    def between(cls, attentions: Iterable[nn.Module]) -> Self | None:
        """Those of one pass, or None where no attention needs the values of the block before."""
        needed = any(need.of_previous for one in attentions for need in _needs(one))
        return cls() if needed else None

    def inputs(self, attention: nn.Module, tokens: Tensor) -> Inputs | None:
        """The values that an attention needs from the block before, or None; its own go to the next block.

        Args:
            attention: of the block; one without values leaves none.
            tokens: what it attends, (batch, length, features).
        """
        former, self.former = self.former, None
        if isinstance(attention, MultiheadAttention):
            self.former = split_heads(attention.v_proj(tokens), attention.head_dim)
        needed = [need for need in _needs(attention) if need.of_previous]
        if not needed or self.former is None:
            return None
        own = self.former
        return {
            need.name: torch.full_like(own, need.neutral) if former is None else former for need in needed
        }


def _needs(attention: nn.Module) -> tuple[TokenInput, ...]:
    return attention.problem.token_inputs if isinstance(attention, MultiheadAttention) else ()
