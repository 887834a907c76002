"""Classifiers that ``primaldual train`` or ``compare`` saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from primaldual.data import Dataset, load
from primaldual.data.loading import READERS
from primaldual.errors import ArgumentError, DataError
from primaldual.experiments.inspection.subject import Subject, pieces, spread


def classifier_and_data(
    model: Path, data: str, split: str | None = None, data_dir: Path | None = None
) -> tuple[Any, Dataset]:
    """A saved classifier, and a data set that it can read.

    Args:
        model: the folder.
        data: name of a data set, or a file.
        split: None = the test part of a data set, all of a file.
        data_dir: where data sets lie.

    Raises:
        CheckpointError: no saved classifier.
        DataError: no such data, or another number of channels.
    """
    from primaldual.estimators import AttentionClassifier

    classifier: Any = AttentionClassifier.load(model)
    whole_file = Path(data).suffix.lower() in READERS
    part = load(data, split or ("all" if whole_file else "test"), data_dir)
    channels = part.X[0].shape[0]
    if channels != classifier.model_.channels:
        raise DataError(
            f"{part.name}: has {channels} channels; {model} was trained on {classifier.model_.channels}"
        )
    return classifier, part


def classifier_subject(folder: Path, data: str | None, cases: int, data_dir: Path | None) -> Subject:
    """A saved classifier with series of a data set, which must be named.

    Raises:
        ArgumentError: no data.
        CheckpointError: no saved classifier.
        DataError: no such data, or another number of channels.
    """
    if data is None:
        raise ArgumentError(f"data must be given for {folder}, a classifier of series: a data set or a file")
    classifier, part = classifier_and_data(folder, data, None, data_dir)
    chosen = spread(list(part.X), cases)
    return Subject(
        folder.name,
        classifier.model_,
        f"a classifier of primaldual with {classifier.attention} attention, from {folder}",
        [classifier.prepare(piece) for piece in pieces(chosen)],
        len(chosen),
        f"{len(chosen)} of {len(part.X)} series of {part.name}, {part.description}",
    )
