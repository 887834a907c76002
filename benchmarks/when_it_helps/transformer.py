"""A small transformer that classifies sequences, with or without LayerNorm in front of its attention."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.when_it_helps.recipe import Recipe
from primaldual.analysis import layer_flops
from primaldual.nn.multihead import MultiheadAttention


class Block(nn.Module):
    """Self-attention and a feed-forward network, each added to its input.

    Args:
        recipe: width, heads, and where LayerNorm stands.
        attention: spec.
    """

    def __init__(self, recipe: Recipe, attention: str) -> None:
        super().__init__()
        width = recipe.width
        self.attention = MultiheadAttention(width, recipe.heads, batch_first=True, attention=attention)
        self.rise, self.fall = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.first_norm, self.second_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.dropout = nn.Dropout(recipe.dropout)
        self.before = recipe.norm == "before"

    def forward(self, inputs: Tensor) -> Tensor:
        """(batch, length, width) in and out."""
        if self.before:
            hidden = inputs + self._mixed(self.first_norm(inputs))
            return hidden + self._fed(self.second_norm(hidden))
        hidden = self.first_norm(inputs + self._mixed(inputs))
        normed: Tensor = self.second_norm(hidden + self._fed(hidden))
        return normed

    def _mixed(self, inputs: Tensor) -> Tensor:
        mixed: Tensor = self.dropout(self.attention(inputs, inputs, inputs, need_weights=False)[0])
        return mixed

    def _fed(self, inputs: Tensor) -> Tensor:
        fed: Tensor = self.dropout(self.fall(nn.functional.gelu(self.rise(inputs))))
        return fed


class Transformer(nn.Module):
    """Linear embedding, learned positions, blocks, LayerNorm, a linear readout.

    Args:
        channels: of the tokens.
        length: of the sequences.
        classes: outputs.
        recipe: everything else.
        attention: spec.
    """

    def __init__(self, channels: int, length: int, classes: int, recipe: Recipe, attention: str) -> None:
        super().__init__()
        self.length, self.recipe = length, recipe
        self.embedding = nn.Linear(channels, recipe.width)
        self.positions = nn.Parameter(torch.empty(length, recipe.width))
        nn.init.normal_(self.positions, std=recipe.positions)
        self.blocks = nn.ModuleList(Block(recipe, attention) for _ in range(recipe.layers))
        self.norm = nn.LayerNorm(recipe.width)
        self.head = nn.Linear(recipe.width, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits of (batch, length, channels)."""
        hidden = self.embedding(tokens) + self.positions
        for block in self.blocks:
            hidden = block(hidden)
        read = hidden[:, -1] if self.recipe.readout == "last" else hidden.mean(1)
        logits: Tensor = self.head(self.norm(read))
        return logits

    def operations(self) -> int:
        """Floating-point operations of one sequence: matrix products, as `layer_flops` counts them."""
        inside = {
            part
            for module in self.modules()
            if isinstance(module, MultiheadAttention)
            for part in module.modules()
        }
        attention = sum(
            layer_flops(module, self.length).total
            for module in self.modules()
            if isinstance(module, MultiheadAttention)
        )
        linears = [
            module for module in self.modules() if isinstance(module, nn.Linear) and module not in inside
        ]
        rest = sum(
            2 * linear.in_features * linear.out_features * (1 if linear is self.head else self.length)
            for linear in linears
        )
        return attention + rest
