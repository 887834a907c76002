"""How the transformer of a task is built and trained: the same for every attention."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """Model and training of one task.

    Attributes:
        width: features of a token.
        heads: attention heads; scales of ``sh`` are one per head.
        layers: blocks.
        norm: "before" (LayerNorm in front of attention and feed-forward network) or "after" (behind each sum).
        positions: deviation of the learned positions at the start.
        readout: "mean" over the tokens, or "last" token.
        epochs: passes over the training part; the weights of the last one are tested.
        batch: sequences per step.
        learning_rate: the highest of a cosine schedule with a linear warm-up over the first tenth.
        weight_decay: decoupled.
        dropout: of both branches.
    """

    width: int = 32
    heads: int = 4
    layers: int = 1
    norm: str = "before"
    positions: float = 0.02
    readout: str = "mean"
    epochs: int = 10
    batch: int = 32
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    dropout: float = 0.0
