"""Time series of the UEA archive."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.when_it_helps.tasks.task import EXPLORATION, Pair
from primaldual.data import load, load_pair

_VALIDATION = 0.3


class Series:
    """A set with its official split; exploration holds out a part of the train part.

    Args:
        name: of the archive.
        folder: holds ``<name>/<name>_TRAIN.ts``; None = aeon's own.
    """

    def __init__(self, name: str, folder: Path | None) -> None:
        self.name = name
        self.folder = folder if folder is not None and (folder / name).is_dir() else None

    def __call__(self, seed: int) -> Pair:
        """Train part, and test part or validation data."""
        if seed < EXPLORATION:
            return load_pair(self.name, self.folder)
        from sklearn.model_selection import train_test_split

        whole = load(self.name, "train", self.folder)
        cases = np.arange(len(whole.X))
        learned, kept = train_test_split(cases, test_size=_VALIDATION, stratify=whole.y, random_state=seed)
        return whole.take(learned.tolist()), whole.take(kept.tolist())
