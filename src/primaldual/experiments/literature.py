"""Collections of data sets that the literature compares transformers on, and numbers published by others."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from primaldual.data.archive import on_disk
from primaldual.data.places import user_path
from primaldual.errors import ArgumentError, DataError, did_you_mean

COLLECTIONS: Mapping[str, tuple[str, ...]] = {
    "uea": (
        "EthanolConcentration",
        "FaceDetection",
        "Handwriting",
        "Heartbeat",
        "JapaneseVowels",
        "PEMS-SF",
        "SelfRegulationSCP1",
        "SelfRegulationSCP2",
        "SpokenArabicDigits",
        "UWaveGestureLibrary",
    )
}
"""The ten sets of the UEA archive that papers on transformers for time series use, by their names in the archive."""

_COLUMNS = ("data", "method", "accuracy", "protocol")
_PROTOCOLS = ("honest", "optimistic", "unknown")


@dataclass(frozen=True)
class Published:
    """A number that others published.

    Attributes:
        data: name of the data set.
        method: what they call their method.
        accuracy: their test accuracy, a share.
        protocol: "honest", "optimistic" or "unknown".
    """

    data: str
    method: str
    accuracy: float
    protocol: str


def at_hand(collection: str, data_dir: Path | None = None) -> tuple[list[str], list[str]]:
    """The sets of a collection that are on disk, and those that are not.

    Args:
        collection: a key of `COLLECTIONS`.
        data_dir: folder that holds ``<name>/<name>_TRAIN.ts``.

    Raises:
        ArgumentError: an unknown collection, or a folder that is none.

    Example:
        >>> at_hand("uea")[0][:1]
        ['JapaneseVowels']
    """
    if collection not in COLLECTIONS:
        hint = did_you_mean(collection, COLLECTIONS)
        raise ArgumentError(f"collection is {collection!r}{hint}; accepted: {', '.join(COLLECTIONS)}")
    folder = None if data_dir is None else user_path(data_dir)
    if folder is not None and not folder.is_dir():
        raise ArgumentError(f"data-dir {folder} is not a folder")
    names = COLLECTIONS[collection]
    present = [name for name in names if on_disk(name, folder) is not None]
    return present, [name for name in names if name not in present]


def read_published(path: Path) -> list[Published]:
    """Read published numbers from a ``.csv`` file with the columns data, method, accuracy and protocol.

    Raises:
        DataError: the file is missing, or a column or a value is not as it should be.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            if tuple(reader.fieldnames or ()) != _COLUMNS:
                raise DataError(
                    f"{path} must have the columns {', '.join(_COLUMNS)}; got {reader.fieldnames}"
                )
            return [_published(row, f"{path}, line {reader.line_num}") for row in reader]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def _published(row: Mapping[str, str], place: str) -> Published:
    try:
        accuracy = float(row["accuracy"])
    except (TypeError, ValueError):
        accuracy = -1.0
    if not 0 <= accuracy <= 1:
        raise DataError(f"{place}: accuracy must be a share from 0 to 1; got {row['accuracy']!r}")
    if row["protocol"] not in _PROTOCOLS:
        raise DataError(f"{place}: protocol must be one of {', '.join(_PROTOCOLS)}; got {row['protocol']!r}")
    return Published(row["data"], row["method"], accuracy, row["protocol"])
