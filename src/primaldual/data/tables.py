"""Tables of numbers for regression: from scikit-learn, from a regression series file, or from a ``.csv`` file."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from primaldual.data.archive import embedded_folder
from primaldual.data.pair import one_line
from primaldual.errors import ArgumentError, DataError

EMBEDDED = ("diabetes", "linnerud", "Covid3Month")
"""Tables that need no network: scikit-learn's, and series in aeon's wheel."""


@dataclass(frozen=True)
class Table:
    """Cases as rows of numbers, and what is to be predicted of each.

    Attributes:
        name: what to call the data.
        X: (cases, features).
        Y: (cases, targets).
        features: a name for each column of X.
        targets: a name for each column of Y.
    """

    name: str
    X: NDArray[np.float64]
    Y: NDArray[np.float64]
    features: tuple[str, ...]
    targets: tuple[str, ...]


def load_table(source: str | Path, data_dir: str | Path | None = None, *, targets: int = 1) -> Table:
    """Load a table.

    Args:
        source: "diabetes" or "linnerud" of scikit-learn; a regression data set of equal lengths, one of aeon's
            archive, whose series are flattened and whose parts are joined, in aeon's wheel (Covid3Month) or
            in ``data_dir``; or a path to a ``.csv`` file of numbers, with or without a line of names.
        data_dir: folder that holds ``<name>/<name>_TRAIN.ts`` and ``_TEST.ts``.
        targets: how many of the last columns of a ``.csv`` file are targets.

    Raises:
        DataError: the data is missing or malformed; the message names the line of a file.
        ArgumentError: fewer than one target.

    Example:
        >>> table = load_table("linnerud")
        >>> table.X.shape, table.targets
        ((20, 3), ('Weight', 'Waist', 'Pulse'))
    """
    if targets < 1:
        raise ArgumentError(f"targets must be 1 or more; got {targets}")
    path = Path(source).expanduser()
    if path.suffix.lower() == ".csv":
        return _read_csv(path, targets)
    if path.is_file() or len(path.parts) > 1:
        raise DataError(f"data file {path} has ending {path.suffix or 'none'}; accepted: .csv")
    name = str(source)
    if name in ("diabetes", "linnerud"):
        return _scikit_learn(name)
    folder = None if data_dir is None else Path(data_dir).expanduser()
    if folder is not None and not folder.is_dir():
        raise DataError(f"data-dir {folder} is not a folder")
    for place in (folder, embedded_folder()):
        files = [] if place is None else [place / name / f"{name}_{part}.ts" for part in ("TRAIN", "TEST")]
        if any(file.is_file() for file in files):
            return _series(name, [file for file in files if file.is_file()])
    raise DataError(
        f"data set {name!r} is unknown; accepted: {', '.join(EMBEDDED)}, a path to a .csv file, or a regression "
        "data set whose <name>/<name>_TRAIN.ts lies in data-dir"
    )


def _scikit_learn(name: str) -> Table:
    from sklearn import datasets

    found = {"diabetes": datasets.load_diabetes, "linnerud": datasets.load_linnerud}[name]()
    goals = np.asarray(found.target, dtype=np.float64)
    return Table(
        name,
        np.asarray(found.data, dtype=np.float64),
        goals.reshape(len(goals), -1),
        tuple(map(str, found.feature_names)),
        tuple(map(str, found.get("target_names", ("progression",)))),
    )


def _series(name: str, files: list[Path]) -> Table:
    from aeon.datasets import load_from_ts_file

    series: list[NDArray[np.float64]] = []
    goals: list[float] = []
    for file in files:
        try:
            cases, values, header = load_from_ts_file(str(file), return_meta_data=True)
        except (OSError, ValueError, IndexError, UnicodeDecodeError) as error:
            raise DataError(f"{file} cannot be read as a .ts file: {one_line(error)}") from error
        if not header["targetlabel"]:
            raise DataError(f"{file} holds no regression target (@targetLabel)")
        series.extend(np.asarray(case, dtype=np.float64) for case in cases)
        goals.extend(float(value) for value in values)
    shapes = {case.shape for case in series}
    if len(shapes) != 1:
        raise DataError(f"{name}: series have {len(shapes)} different shapes; flattening needs one")
    inputs, outputs = np.stack(series).reshape(len(series), -1), np.array(goals)[:, None]
    if not (np.isfinite(inputs).all() and np.isfinite(outputs).all()):
        raise DataError(f"{name}: holds values that are missing or infinite; every number is needed")
    return Table(name, inputs, outputs, tuple(f"t{column}" for column in range(inputs.shape[1])), ("target",))


def _read_csv(path: Path, targets: int) -> Table:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = [(number, row) for number, row in enumerate(csv.reader(file), start=1) if row]
    except FileNotFoundError as error:
        raise DataError(f"data file {path} does not exist") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as a .csv file: {one_line(error)}") from error
    names = [f"column {column}" for column in range(1, len(lines[0][1]) + 1)] if lines else []
    if lines and not any(_is_number(cell) for cell in lines[0][1]):
        names = [cell.strip() for cell in lines.pop(0)[1]]
    if not lines:
        raise DataError(f"{path}: holds no cases; at least one line of numbers is needed")
    if len(names) <= targets:
        raise DataError(
            f"{path}: has {len(names)} column{'s'[: len(names) != 1]}; {targets} of them as targets leave no feature"
        )
    rows = np.array([_numbers(path, number, names, row) for number, row in lines])
    return Table(
        path.stem, rows[:, :-targets], rows[:, -targets:], tuple(names[:-targets]), tuple(names[-targets:])
    )


def _numbers(path: Path, line: int, names: list[str], row: list[str]) -> list[float]:
    if len(row) != len(names):
        raise DataError(f"{path}, line {line}: {len(row)} cells; the first line has {len(names)}")
    for name, cell in zip(names, row, strict=True):
        if not _is_number(cell) or not np.isfinite(float(cell)):
            raise DataError(f"{path}, line {line}: {name} is {cell!r}; a finite number is needed")
    return [float(cell) for cell in row]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
