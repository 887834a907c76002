"""Two published families of configurations for Long Range Arena, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from primaldual.training import TrainingSettings


@dataclass(frozen=True)
class TaskTraining:
    """How long and how fast one task is trained.

    Args:
        batch_size: cases per step, over all processes.
        steps: of the optimizer.
        warmup_steps: over which the learning rate grows linearly.
        learning_rate: the highest one.
        weight_decay: of AdamW, for matrices alone.
    """

    batch_size: int
    steps: int
    warmup_steps: int
    learning_rate: float
    weight_decay: float = 0.0


@dataclass(frozen=True)
class Config:
    """A model and its training for every task.

    Args:
        num_layers: blocks.
        embed_dim: width of the sequence.
        num_heads: attention heads.
        feedforward_dim: width inside the feed-forward networks and the head.
        dropout: on the embeddings and the branches of the blocks.
        schedule: of the learning rate after the warm-up.
        training: by task.

    Example:
        >>> CONFIGS["pytorch"].settings("listops", cases=96_000, seed=0).epochs
        2
    """

    num_layers: int
    embed_dim: int
    num_heads: int
    feedforward_dim: int
    dropout: float
    schedule: str
    training: Mapping[str, TaskTraining]

    def settings(
        self,
        task: str,
        cases: int,
        seed: int,
        batch_size: int | None = None,
        steps: int | None = None,
        mixed_precision: str | None = None,
    ) -> TrainingSettings:
        """The settings of a task for the training loop.

        Args:
            task: a key of ``training``.
            cases: of the training part.
            seed: of everything random.
            batch_size: instead of the task's; the learning rate stays.
            steps: instead of the task's; the warm-up keeps its share of them.
            mixed_precision: "bf16" or "no", the default.
        """
        chosen = self.training[task]
        size, last = batch_size or chosen.batch_size, steps or chosen.steps
        return TrainingSettings(
            epochs=-(-last // -(-cases // size)),
            batch_size=size,
            learning_rate=chosen.learning_rate,
            weight_decay=chosen.weight_decay,
            optimizer="adamw_matrices",
            schedule=self.schedule,
            warmup_steps=round(chosen.warmup_steps * last / chosen.steps),
            gradient_clip=1.0,
            mixed_precision=mixed_precision or "no",
            steps=last,
            seed=seed,
        )


PYTORCH = Config(
    num_layers=2,
    embed_dim=64,
    num_heads=2,
    feedforward_dim=128,
    dropout=0.1,
    schedule="linear",
    training={
        "listops": TaskTraining(32, 5_000, 1_000, 1e-4),
        "text": TaskTraining(32, 20_000, 8_000, 1e-4),
        "retrieval": TaskTraining(32, 30_000, 800, 1e-4),
        "pixels": TaskTraining(256, 35_000, 175, 1e-4),
        "pathfinder": TaskTraining(256, 62_400, 312, 1e-4),
    },
)
"""Two small blocks for every task, the numbers of the code of Nyströmformer (Xiong et al., AAAI 2021), PyTorch."""

JAX = Config(
    num_layers=4,
    embed_dim=512,
    num_heads=8,
    feedforward_dim=2048,
    dropout=0.1,
    schedule="cosine",
    training={
        "listops": TaskTraining(32, 5_000, 1_000, 1.6e-3, 0.1),
        "text": TaskTraining(32, 20_000, 8_000, 5.6e-4, 0.1),
        "retrieval": TaskTraining(32, 5_000, 1_000, 5.6e-4, 0.1),
        "pixels": TaskTraining(256, 35_000, 175, 5e-4),
        "pathfinder": TaskTraining(512, 62_400, 312, 1e-3),
    },
)
"""Four blocks of width 512 for every task, training after the JAX code of Long Range Arena (Tay et al., ICLR 2021).

That code has a model for each task and decays by the inverse square root of the step for listops, text and retrieval;
the highest rate is its factor 0.05 over the square root of its warm-up.
"""

CONFIGS: Mapping[str, Config] = {"pytorch": PYTORCH, "jax": JAX}
"""Configurations by name."""
