"""The settings of a comparison whose data may be a file with columns of other names."""

from __future__ import annotations

from dataclasses import dataclass

from primaldual.data import Dataset, Reading, load_pair
from primaldual.data.reading import PLAIN
from primaldual.experiments import Settings


@dataclass(frozen=True)
class FileSettings(Settings):
    """A comparison.

    Args:
        reading: the columns of a ``.csv`` file.
    """

    reading: Reading = PLAIN

    def load(self) -> tuple[Dataset, Dataset]:
        """Train and test part of the data."""
        return load_pair(self.source, self.data_dir, self.reading)
