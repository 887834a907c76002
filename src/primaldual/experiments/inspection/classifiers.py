"""Classifiers that ``primaldual train`` or ``compare`` saved."""

from __future__ import annotations

from pathlib import Path

from primaldual.data import Reading
from primaldual.errors import ArgumentError
from primaldual.experiments.inspection.subject import Subject, pieces, spread
from primaldual.experiments.saved_classifier import open_saved


def classifier_subject(
    folder: Path, data: str | None, cases: int, data_dir: Path | None, reading: Reading
) -> Subject:
    """A saved classifier with series of a data set, which must be named.

    Raises:
        ArgumentError: no data.
        CheckpointError: no saved classifier.
        DataError: no such data, or other channels.
    """
    if data is None:
        raise ArgumentError(f"data must be given for {folder}, a classifier of series: a data set or a file")
    saved = open_saved(folder)
    classifier, part = saved.classifier, saved.load(data, None, data_dir, reading)
    chosen = spread(list(part.X), cases)
    return Subject(
        folder.name,
        classifier.model_,
        f"a classifier of primaldual with {classifier.attention} attention, from {folder}",
        [classifier.prepare(piece) for piece in pieces(chosen)],
        len(chosen),
        f"{len(chosen)} of {len(part.X)} series of {part.name}, {part.description}",
    )
