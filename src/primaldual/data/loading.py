"""The one entry to all data: a name or a path, and the part wanted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from primaldual.data.archive import read_archive
from primaldual.data.cells import listed
from primaldual.data.csv_file import read_csv
from primaldual.data.dataset import Dataset
from primaldual.data.labels import regression_hint
from primaldual.data.npz_file import read_npz
from primaldual.data.pair import Parts
from primaldual.data.places import near, other_commands, user_path
from primaldual.data.reading import PLAIN, Reading
from primaldual.data.ts_file import read_ts
from primaldual.errors import ArgumentError, DataError

READERS: Mapping[str, Callable[[Path, Reading], Parts]] = {".ts": read_ts, ".npz": read_npz, ".csv": read_csv}
"""Reader of each file ending."""

_LABELS = "in a .csv file a column label, or the one that --label names (label of Reading in Python)"

_PICK: Mapping[str, Callable[[Parts], Dataset]] = {
    "train": lambda parts: parts.split()[0],
    "test": lambda parts: parts.split()[1],
    "all": lambda parts: parts.whole(),
}


def load(
    source: str | Path,
    split: str = "train",
    data_dir: str | Path | None = None,
    reading: Reading = PLAIN,
) -> Dataset:
    """Load one part of a data set.

    Args:
        source: a name of aeon's archive, or a path to a ``.ts``, ``.npz`` or ``.csv`` file. A path
            ending in ``_TRAIN.ts`` or ``_TEST.ts`` brings its partner.
        split: "train", "test", or "all" for every case.
        data_dir: folder that holds ``<name>/<name>_TRAIN.ts``; downloads go there too.
        reading: the columns of a ``.csv`` file, and whether labels are read.

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
    return _PICK[split](load_parts(source, data_dir, reading))


def load_pair(
    source: str | Path, data_dir: str | Path | None = None, reading: Reading = PLAIN
) -> tuple[Dataset, Dataset]:
    """Load the train and the test part, both with labels; the arguments are those of `load`.

    Raises:
        DataError: the data is missing, malformed, unlabelled, or has fewer than two classes to learn.

    Example:
        >>> train, test = load_pair("BasicMotions")
        >>> len(train.X), len(test.X), train.class_names[0]
        (40, 40, 'Badminton')
    """
    train, test = load_parts(source, data_dir, reading).split()
    check_trainable(train)
    check_testable(test, train.class_names)
    return train, test


def check_trainable(train: Dataset) -> None:
    """Refuse data that no classifier can be trained on.

    Raises:
        DataError: no labels, or one class.
    """
    if train.y is None:
        raise DataError(f"{train.name}: has no labels; training needs them: {_LABELS}")
    if len(train.class_names) < 2:
        raise DataError(f"{train.name}: every train label is {train.class_names[0]!r}; two classes needed")


def check_testable(test: Dataset, classes: Sequence[str]) -> None:
    """Refuse data that a classifier of these classes cannot be tested on.

    Raises:
        DataError: no labels, or labels that were never trained on.
    """
    if test.y is None:
        raise DataError(f"{test.name}: has no labels; testing needs them: {_LABELS}; predict needs none")
    unseen = [label for label in test.spelled(classes).class_names if label not in classes]
    if unseen:
        raise DataError(
            f"{test.name}: test labels {listed(unseen)} never occur in the train part, whose labels are "
            f"{listed(classes)}{regression_hint(test.y.tolist())}"
        )


def load_parts(source: str | Path, data_dir: str | Path | None = None, reading: Reading = PLAIN) -> Parts:
    """Load all that a source holds; the arguments are those of `load`.

    Raises:
        DataError: the data is missing or malformed.
        ArgumentError: columns were named, but it is no ``.csv`` file.
    """
    path = user_path(source)
    ending = path.suffix.lower()
    if reading.columns and ending != ".csv":
        named = ", ".join(reading.columns)
        raise ArgumentError(
            f"reading names columns ({named}), which only a .csv file has; {source} is not one"
        )
    reader = READERS.get(ending)
    if reader is not None:
        if not path.is_file():
            raise DataError(f"data file {path} does not exist{near(path)}")
        return reader(path, reading)
    if path.is_file() or len(path.parts) > 1:
        accepted = ", ".join(READERS)
        if not path.exists():
            raise DataError(f"data file {path} does not exist{near(path)}")
        found = "is a folder" if path.is_dir() else f"has ending {path.suffix or 'none'}"
        raise DataError(f"data file {path} {found}; accepted: {accepted}{other_commands(path)}")
    folder = None if data_dir is None else user_path(data_dir)
    if folder is not None and not folder.is_dir():
        raise DataError(f"data-dir {folder} is not a folder{near(folder)}")
    return read_archive(str(source), folder, reading)
