"""The training loop: small, explicit, the same for one process, DDP and FSDP."""

from collections.abc import Sequence
from contextlib import ExitStack

from torch import nn

from primaldual.training.accelerators import run_accelerator
from primaldual.training.activations import recomputed_blocks
from primaldual.training.batches import Data
from primaldual.training.callbacks import Callback, TrainingState
from primaldual.training.compiling import compiled
from primaldual.training.execution import Execution
from primaldual.training.objectives import Objective
from primaldual.training.randomness import private_torch_randomness
from primaldual.training.run import TrainingRun
from primaldual.training.settings import TrainingSettings
from primaldual.training.termination import Termination


def train(
    model: nn.Module,
    objective: Objective,
    settings: TrainingSettings,
    training: Data,
    validation: Data | None = None,
    callbacks: Sequence[Callback] = (),
    execution: Execution | None = None,
) -> TrainingState:
    """Train a model, keep the weights of the best epoch: highest validation metric, then lowest loss.

    Without a validation part the last weights are kept. A run that is resumed from a checkpoint equals one that was
    never interrupted. Several processes divide every batch and learn what one process learns, but for rounding and for
    dropout, which every process draws for itself.

    Ctrl-C ends training with a ``KeyboardInterrupt``, which after the first epoch is a `TrainingInterrupted` with the
    state so far. Where checkpoints are written, SIGTERM ends it with a `TrainingTerminated`, a SystemExit, after a
    checkpoint of the step that was under way.

    Args:
        model: called as ``model(*batch.inputs)``; gives (batch, outputs).
        objective: loss and score.
        settings: how to train.
        training: the training part.
        validation: the validation part, for early stopping.
        callbacks: called on the main process.
        execution: where and how to compute it, and the folder of checkpoints; None = ``Execution()``.

    Returns:
        The final state; ``best_weights`` holds the weights to use.

    Raises:
        ArgumentError: a device that cannot be used.
        DataError: a loss is not finite.
        CheckpointError: the checkpoint cannot be read or written.
        UnsupportedError: activation checkpointing of a model without blocks.

    Example:
        >>> import torch
        >>> from primaldual.models import TimeSeriesTransformer
        >>> from primaldual.training import Classification, Examples
        >>> data = Examples(torch.randn(6, 5, 1), None, torch.tensor([0, 1] * 3), torch.ones(6))
        >>> model = TimeSeriesTransformer(channels=1, length=5, outputs=2)
        >>> train(model, Classification(), TrainingSettings(epochs=2), data).epoch
        2
    """
    execution = execution or Execution()
    with ExitStack() as around:
        around.enter_context(private_torch_randomness(settings.seed))
        accelerator = around.enter_context(run_accelerator(execution.device))
        if execution.activation_checkpointing:
            around.enter_context(recomputed_blocks(model))
        if execution.compile:
            around.enter_context(compiled(model))
        termination = around.enter_context(Termination(watched=execution.checkpoint_dir is not None))
        run = TrainingRun(model, objective, settings, training, validation, callbacks, execution, accelerator)
        return run.result(termination)
