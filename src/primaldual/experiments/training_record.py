"""What a saved classifier was trained on, beside it: names of columns and fingerprints of cases."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from primaldual.data import Dataset, Reading
from primaldual.data.reading import PLAIN
from primaldual.errors import CheckpointError
from primaldual.reporting.files import write_text

FILE_NAME = "training.json"
_COLUMNS = ("case", "time", "label", "channels")


@dataclass(frozen=True)
class TrainingRecord:
    """What `primaldual train` and `compare` keep about the training data.

    Args:
        data: name of the data set.
        channel_names: names of the channels in the order of the model; None where the data has none.
        cases: a fingerprint of each case, held-out ones not among them.
        reading: the columns that the file was read by; an older record has none.
    """

    data: str
    channel_names: tuple[str, ...] | None
    cases: tuple[str, ...]
    reading: Reading = PLAIN

    @classmethod
    def of(cls, part: Dataset, reading: Reading) -> TrainingRecord:
        """The record of a training part, and of how it was read."""
        return cls(part.name, part.channel_names, tuple(part.case_fingerprints()), reading)

    def write(self, folder: Path) -> None:
        """Write the record into the folder of a saved classifier."""
        described = asdict(self) | {"reading": {name: getattr(self.reading, name) for name in _COLUMNS}}
        write_text(folder / FILE_NAME, json.dumps(described, indent=1) + "\n")

    def seen(self, part: Dataset) -> NDArray[np.bool_]:
        """Which cases of a data set were trained on."""
        trained = frozenset(self.cases)
        return np.array([case in trained for case in part.case_fingerprints()])


def read_record(folder: Path) -> TrainingRecord | None:
    """The record in the folder of a saved classifier; None if it has none, as those saved from Python.

    Raises:
        CheckpointError: the file is there and cannot be read.
    """
    try:
        found = json.loads((folder / FILE_NAME).read_text(encoding="utf-8"))
        names: Sequence[str] | None = found["channel_names"]
        return TrainingRecord(
            str(found["data"]),
            None if names is None else tuple(map(str, names)),
            tuple(map(str, found["cases"])),
            _reading(found.get("reading", {})),
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{folder / FILE_NAME} is corrupt: {type(error).__name__}") from error


def _reading(described: Mapping[str, Any]) -> Reading:
    case, time, label = (described.get(meaning) for meaning in ("case", "time", "label"))
    channels = described.get("channels")
    return Reading(
        None if case is None else str(case),
        None if time is None else str(time),
        None if label is None else str(label),
        None if channels is None else tuple(map(str, channels)),
    )
