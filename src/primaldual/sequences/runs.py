"""One run: a task, an attention and a configuration into a trained, tested and saved classifier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from primaldual.errors import DataError
from primaldual.models import TokenClassifier, TokenPairClassifier
from primaldual.sequences.configs import CONFIGS
from primaldual.sequences.evaluation import Evaluation, evaluate
from primaldual.sequences.run_numbers import numbers_of
from primaldual.sequences.run_settings import RunSettings
from primaldual.sequences.tasks import parts_of, task_named
from primaldual.sequences.token_data import TokenData
from primaldual.sequences.token_sets import SequenceParts, TokenSet
from primaldual.training import Callback, Classification, Execution, TrainingState, train
from primaldual.training.randomness import derive_seed
from primaldual.training.run_folders import RunFolder, default_name
from primaldual.training.splitting import split_off_validation


@dataclass(frozen=True)
class SequenceRun:
    """A finished run.

    Attributes:
        config: everything that decides what is learned, by name.
        parts: the sequences.
        model: with the weights that were kept.
        state: of training.
        evaluation: on the test part.
        folder: where everything is saved.
    """

    config: dict[str, Any]
    parts: SequenceParts
    model: nn.Module
    state: TrainingState
    evaluation: Evaluation
    folder: RunFolder


class PreparedRun:
    """A run whose data, model and folder are checked.

    Args:
        settings: what is learned from what.
        out: folder of the run; None = one named after task, configuration, attention and seed, in runs/lra.
        processes: that generate data.

    Raises:
        ArgumentError: a value that is not accepted, or a place that cannot be written.
        DataError: data that cannot be used.
        CheckpointError: the folder holds a run with another config; lists the differences.
    """

    def __init__(self, settings: RunSettings, out: Path | None = None, processes: int = 1) -> None:
        self.settings = settings
        task, family = task_named(settings.task), CONFIGS[settings.config]
        self.max_length = settings.max_length or task.max_length
        sizes = {
            "embed_dim": family.embed_dim,
            "num_heads": settings.heads or family.num_heads,
            "num_layers": family.num_layers,
            "feedforward_dim": family.feedforward_dim,
            "dropout": family.dropout,
            "attention": settings.attention,
        }
        _model(False, 2, 1, 2, sizes, seed=0)  # before data is made, which may take minutes
        whole = parts_of(settings, processes)
        whole.training.check_trainable()
        self.parts = _with_validation(_fitting(whole, self.max_length, settings), settings)
        training, seed = self.parts.training, derive_seed(settings.seed, 1)
        self.model = _model(
            training.paired, training.vocabulary, self.max_length, len(training.classes), sizes, seed
        )
        self.training_settings = family.settings(
            settings.task,
            len(training),
            settings.seed,
            settings.batch_size,
            settings.steps,
            settings.mixed_precision,
        )
        self.config = {
            "task": settings.task,
            "data": settings.task if settings.data is None else str(settings.data),
            "model": settings.config,
            "sequences": whole.training.digest,
            "classes": list(training.classes),
            "max_length": self.max_length,
            "truncate": settings.truncate,
            **sizes,
            **{name: value for name, value in asdict(self.training_settings).items() if name != "seed"},
            "validation": settings.validation,
            "seed": settings.seed,
        }
        self.folder = RunFolder.open(out or Path("runs") / "lra" / default_name(self.config), self.config)

    def train(self, execution: Execution, callbacks: Sequence[Callback] = ()) -> TrainingState:
        """Train, or go on from the newest checkpoint in the run's folder.

        Args:
            execution: where and how; the run's folder of checkpoints is ``folder.checkpoints``.
            callbacks: see :func:`primaldual.training.train`.
        """
        validation = self.parts.validation
        return train(
            self.model,
            Classification(),
            self.training_settings,
            TokenData(self.parts.training),
            None if validation is None else TokenData(validation),
            callbacks,
            execution,
        )

    def finish(self, state: TrainingState) -> SequenceRun:
        """Test the weights that were kept, and save them with the numbers.

        Args:
            state: of training.
        """
        self.model.load_state_dict(state.best_weights)
        data = TokenData(self.parts.test)
        evaluation = evaluate(self.model, data, 4 * self.training_settings.batch_size)
        run = SequenceRun(self.config, self.parts, self.model, state, evaluation, self.folder)
        self.folder.save(run.model, numbers_of(run))
        return run


def _model(
    paired: bool, vocabulary: int, length: int, classes: int, sizes: dict[str, Any], seed: int
) -> nn.Module:
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        kind = TokenPairClassifier if paired else TokenClassifier
        return kind(vocabulary, length, classes, **sizes)


def _fitting(parts: SequenceParts, max_length: int, settings: RunSettings) -> SequenceParts:
    """The parts, their texts cut to the longest accepted length where that is asked for."""
    given = {"training": parts.training, "validation": parts.validation, "test": parts.test}
    every = [part.lengths for part in given.values() if part is not None]
    longest, over = max(int(one.max()) for one in every), sum(int((one > max_length).sum()) for one in every)
    if not over:
        return parts
    if not settings.truncate:
        cut = ", or let truncate cut them" if settings.task in {"text", "retrieval"} else ""
        raise DataError(
            f"{settings.task}: {over} of {sum(map(len, every))} sequences are longer than max_length {max_length}; "
            f"the longest has {longest} tokens, so give max_length {longest}{cut}"
        )
    note = f"{over} of {sum(map(len, every))} cases are cut to {max_length} tokens"
    return replace(
        parts,
        training=parts.training.cut(max_length),
        validation=None if parts.validation is None else parts.validation.cut(max_length),
        test=parts.test.cut(max_length),
        notes=(*parts.notes, note),
    )


def _with_validation(parts: SequenceParts, settings: RunSettings) -> SequenceParts:
    """The parts, with a validation part split off the training part where there is none and one is wanted."""
    if parts.validation is not None or settings.validation == 0:
        return parts
    seed = derive_seed(settings.seed, 0)
    kept, held_out = split_off_validation(parts.training.labels, settings.validation, seed)
    validation: TokenSet | None = parts.training.part(held_out) if len(held_out) else None
    return replace(parts, training=parts.training.part(kept), validation=validation)
