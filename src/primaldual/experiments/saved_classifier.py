"""A saved classifier, and data in the form it was trained on."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from primaldual.data import Dataset, Reading, load
from primaldual.data.loading import READERS
from primaldual.data.places import near, user_path
from primaldual.errors import CheckpointError, DataError
from primaldual.experiments.training_record import TrainingRecord, read_record


@dataclass(frozen=True)
class Saved:
    """A classifier that ``train`` or ``compare`` wrote.

    Args:
        folder: where it lies.
        classifier: an AttentionClassifier.
        record: what it was trained on, None if that is not known.
    """

    folder: Path
    classifier: Any
    record: TrainingRecord | None

    @property
    def classes(self) -> list[str]:
        """Labels, in the order of the probabilities."""
        return [str(label) for label in self.classifier.classes_]

    @property
    def channel_names(self) -> tuple[str, ...] | None:
        """Names of the channels that it was fitted to, from a file or a data frame; None if they have none."""
        own: tuple[str, ...] | None = self.classifier.channel_names_
        return own if self.record is None or self.record.channel_names is None else self.record.channel_names

    def load(self, data: str, split: str | None, data_dir: Path | None, reading: Reading) -> Dataset:
        """Data with the channels of the classifier, in its order; columns that are not named are those of its training.

        Args:
            data: name of a data set, or a file.
            split: None = the test part of a data set, all of a file.
            data_dir: where data sets lie.
            reading: the columns of a file.

        Raises:
            DataError: no such data, or other channels.
        """
        if self.record is not None and Path(data).suffix.lower() == ".csv":
            reading = replace(reading, former=self.record.reading)
        part = load(data, split or default_split(data), data_dir, reading)
        if self.channel_names is not None:
            part = part.with_channels(self.channel_names)
        channels = part.X[0].shape[0]
        if channels != self.classifier.model_.channels:
            raise DataError(
                f"{part.name}: has {channels} channels; {self.folder} was trained on {self.classifier.model_.channels}"
            )
        return part


def default_split(data: str) -> str:
    """All of a file, the test part of a data set by name."""
    return "all" if Path(data).suffix.lower() in READERS else "test"


def open_saved(model: Path) -> Saved:
    """Load a classifier.

    Raises:
        CheckpointError: the folder holds none.
    """
    from primaldual.estimators import AttentionClassifier

    folder = user_path(model)
    if not folder.exists():
        raise CheckpointError(f"model {model}: there is no such folder{near(folder)}")
    classifier: Any = AttentionClassifier.load(folder)
    try:
        # Settings may be readable and still make no sense together.
        flat = np.zeros((1, classifier.model_.channels, 2))
        found = classifier.predict_proba(flat)
        fits = found.shape == (1, len(classifier.classes_)) and np.isfinite(found).all()
        fits = fits and classifier.prepare(flat)[0].numel() > 0
    except Exception:  # of many kinds, by what is damaged
        fits = False
    if not fits:
        raise CheckpointError(f"model {model} is damaged: it cannot classify a flat series")
    return Saved(folder, classifier, read_record(folder))


def is_saved_classifier(folder: Path) -> bool:
    """Whether a folder says that it holds an estimator of this library."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return "format" in config and "model_type" not in config
    except (OSError, ValueError, TypeError, RecursionError):
        return False
