"""Where and how a run is computed: one frozen object, which does not change what is learned."""

from __future__ import annotations

import os
from dataclasses import dataclass

from primaldual.errors import ArgumentError


@dataclass(frozen=True)
class Execution:
    """Everything about a run that leaves its result as it is, but for rounding.

    Args:
        device: where to train, such as "cpu" or "cuda"; None = a GPU where there is one.
        checkpoint_dir: folder of checkpoints, written after every epoch; the same run resumes from there.
        checkpoint_every: steps between checkpoints, besides those after every epoch.
        accumulation: pieces that each process computes one after the other for one step, which takes less memory.
        activation_checkpointing: compute the activations of blocks again in the backward pass, which takes less memory.
        compile: run the model through ``torch.compile``.

    Raises:
        ArgumentError: a value out of range, or ``checkpoint_every`` without ``checkpoint_dir``.

    Example:
        >>> Execution(accumulation=4).compile
        False
        >>> Execution(checkpoint_every=10)
        Traceback (most recent call last):
        primaldual.errors.ArgumentError: checkpoint_every needs a checkpoint_dir to write to
    """

    device: str | None = None
    checkpoint_dir: str | os.PathLike[str] | None = None
    checkpoint_every: int | None = None
    accumulation: int = 1
    activation_checkpointing: bool = False
    compile: bool = False

    def __post_init__(self) -> None:
        for name in ("checkpoint_every", "accumulation"):
            value = getattr(self, name)
            if value is None and name == "checkpoint_every":
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ArgumentError(f"{name} must be an integer of at least 1; got {value!r}")
        for name in ("activation_checkpointing", "compile"):
            if not isinstance(getattr(self, name), bool):
                raise ArgumentError(f"{name} must be True or False; got {getattr(self, name)!r}")
        if self.checkpoint_every is not None and self.checkpoint_dir is None:
            raise ArgumentError("checkpoint_every needs a checkpoint_dir to write to")
