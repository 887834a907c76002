"""The one entry to all data: a name or a path, and the part wanted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from primaldual.data.archive import read_archive
from primaldual.data.csv_file import read_csv
from primaldual.data.dataset import Dataset
from primaldual.data.npz_file import read_npz
from primaldual.data.pair import Parts
from primaldual.data.ts_file import read_ts
from primaldual.errors import ArgumentError, DataError

READERS: Mapping[str, Callable[[Path], Parts]] = {".ts": read_ts, ".npz": read_npz, ".csv": read_csv}
"""Reader of each file ending."""

_PICK: Mapping[str, Callable[[Parts], Dataset]] = {
    "train": lambda parts: parts.split()[0],
    "test": lambda parts: parts.split()[1],
    "all": lambda parts: parts.whole(),
}


def load(source: str | Path, split: str = "train", data_dir: str | Path | None = None) -> Dataset:
    """Load one part of a data set.

    Args:
        source: a name of aeon's archive, or a path to a ``.ts``, ``.npz`` or long ``.csv`` file. A path
            ending in ``_TRAIN.ts`` or ``_TEST.ts`` brings its partner.
        split: "train", "test", or "all" for every case.
        data_dir: folder that holds ``<name>/<name>_TRAIN.ts``; downloads go there too.

    Returns:
        The part. A file that is not split already gives 30 % of every class to the test part, the same
        cases every time.

    Raises:
        DataError: the data is missing or malformed.
        ArgumentError: ``split`` is none of the three.

    Example:
        >>> load("JapaneseVowels", "test").summary
        '370 cases, 12 channels, lengths 7 to 29, 9 classes'
    """
    if split not in _PICK:
        raise ArgumentError(f"split is {split!r}; accepted: {', '.join(_PICK)}")
    return _PICK[split](_read(source, data_dir))


def load_pair(source: str | Path, data_dir: str | Path | None = None) -> tuple[Dataset, Dataset]:
    """Load the train and the test part, both with labels.

    Raises:
        DataError: the data is missing, malformed, unlabelled, or has fewer than two classes to learn.

    Example:
        >>> train, test = load_pair("BasicMotions")
        >>> len(train.X), len(test.X), train.class_names[0]
        (40, 40, 'badminton')
    """
    train, test = _read(source, data_dir).split()
    if train.y is None or test.y is None:
        raise DataError(f"{train.name}: has no labels; training and testing need them")
    if len(train.class_names) < 2:
        raise DataError(f"{train.name}: every train label is {train.class_names[0]!r}; two classes needed")
    unseen = sorted(set(test.class_names) - set(train.class_names))
    if unseen:
        raise DataError(f"{train.name}: test labels {', '.join(unseen)} never occur in the train part")
    return train, test


def _read(source: str | Path, data_dir: str | Path | None) -> Parts:
    path = Path(source).expanduser()
    reader = READERS.get(path.suffix.lower())
    if reader is not None:
        if not path.is_file():
            raise DataError(f"data file {path} does not exist")
        return reader(path)
    if path.is_file() or len(path.parts) > 1:
        accepted = ", ".join(READERS)
        raise DataError(f"data file {path} has ending {path.suffix or 'none'}; accepted: {accepted}")
    folder = None if data_dir is None else Path(data_dir).expanduser()
    if folder is not None and not folder.is_dir():
        raise DataError(f"data-dir {folder} is not a folder")
    return read_archive(str(source), folder)
