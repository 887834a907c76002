"""What a problem needs of every token, projected from the tokens of a layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from primaldual.primal.attention import Attention
from primaldual.primal.token_inputs import KEYS, TokenInput, learned


class InputProjections(nn.Module):
    """One linear map for each input per token of a problem; at first they give what changes nothing.

        input = f(x W + b),  W = 0 and b so that f(b) is neutral;  f is the :class:`TokenInput`'s ``of_projection``

    Args:
        needs: what the problem states; what is not learned is left out.
        heads: query heads.
        head_dim: D.
        query_width: features of a token of the queries.
        key_width: features of a token of the keys.
        device: of the parameters.
        dtype: of the parameters.

    Example:
        >>> from primaldual import preset
        >>> projections = InputProjections(preset("forget").token_inputs, 4, 16, query_width=64, key_width=64)
        >>> tokens = torch.randn(2, 10, 64)
        >>> projections(tokens, tokens)["log_gate"].shape
        torch.Size([2, 4, 10])
    """

    def __init__(
        self,
        needs: Sequence[TokenInput],
        heads: int,
        head_dim: int,
        *,
        query_width: int,
        key_width: int,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.needs = learned(needs)
        self.heads = heads
        for need in self.needs:
            sizes = _sizes(need, heads, head_dim, query_width, key_width)
            linear = nn.Linear(*sizes, device="meta", dtype=dtype)  # draws no random numbers
            self.add_module(need.name, linear.to_empty(device=torch.empty(0, device=device).device))
        self.reset_parameters()

    @classmethod
    def of(
        cls,
        attention: Attention,
        heads: int,
        head_dim: int,
        *,
        query_width: int,
        key_width: int,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> InputProjections | None:
        """The maps for an attention, or None where it needs nothing beside query, key and value."""
        needs = learned(attention.token_inputs)
        if not needs:
            return None
        return cls(
            needs, heads, head_dim, query_width=query_width, key_width=key_width, device=device, dtype=dtype
        )

    def reset_parameters(self) -> None:
        """Set weights to 0 and biases to where nothing changes."""
        for need in self.needs:
            linear = cast(nn.Linear, self.get_submodule(need.name))
            nn.init.zeros_(linear.weight)
            nn.init.constant_(linear.bias, need.first)

    def forward(self, query: Tensor, key: Tensor) -> dict[str, Tensor]:
        """The inputs by name.

        Args:
            query: tokens of the queries, (batch, Nq, features).
            key: those of the keys, (batch, Nk, features).
        """
        found = {}
        for need in self.needs:
            projected = self.get_submodule(need.name)(key if need.tokens == KEYS else query)
            made = need.of_projection(projected)
            if need.width is not None:
                made = made.unflatten(-1, (self.heads, -1))
            found[need.name] = made.transpose(1, 2)
        return found


def count_parameters(
    needs: Sequence[TokenInput], heads: int, head_dim: int, query_width: int, key_width: int
) -> int:
    """How many parameters :class:`InputProjections` of these sizes have."""
    sizes = (_sizes(need, heads, head_dim, query_width, key_width) for need in learned(needs))
    return sum((width + 1) * numbers for width, numbers in sizes)


def _sizes(need: TokenInput, heads: int, head_dim: int, query_width: int, key_width: int) -> tuple[int, int]:
    """Features of a token, and numbers that are made of it."""
    numbers = heads * (1 if need.width is None else head_dim)
    return (key_width if need.tokens == KEYS else query_width), numbers
