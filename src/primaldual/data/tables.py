"""Tables of numbers for regression: from scikit-learn, from a regression series file, or from a ``.csv`` file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from primaldual.data.archive import embedded_folder
from primaldual.data.cells import is_number
from primaldual.data.csv_rows import Line, named_rows, read_lines
from primaldual.data.dataset import Series
from primaldual.data.places import near, user_path
from primaldual.data.ts_series import read_series
from primaldual.errors import ArgumentError, DataError, did_you_mean

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


def load_table(
    source: str | Path, data_dir: str | Path | None = None, *, targets: int | None = None
) -> Table:
    """Load a table.

    Args:
        source: "diabetes" or "linnerud" of scikit-learn; a regression data set of equal lengths, one of aeon's
            archive, whose series are flattened and whose parts are joined, in aeon's wheel (Covid3Month) or
            in ``data_dir``; or a path to a ``.csv`` file of numbers, with or without a line of names.
        data_dir: folder that holds ``<name>/<name>_TRAIN.ts`` and ``_TEST.ts``.
        targets: how many of the last columns of a ``.csv`` file are targets, 1 by default; other sources have
            targets of their own.

    Raises:
        DataError: the data is missing or malformed; the message names the line of a file.
        ArgumentError: fewer than one target, or a number of targets for another source than a ``.csv`` file.

    Example:
        >>> table = load_table("linnerud")
        >>> table.X.shape, table.targets
        ((20, 3), ('Weight', 'Waist', 'Pulse'))
    """
    if targets is not None and targets < 1:
        raise ArgumentError(f"targets must be 1 or more; got {targets}")
    path = user_path(source)
    if path.suffix.lower() == ".csv":
        return _read_csv(path, targets or 1)
    if path.is_file() or len(path.parts) > 1:
        raise DataError(f"data file {path} has ending {path.suffix or 'none'}; accepted: .csv")
    table = _named(str(source), None if data_dir is None else user_path(data_dir))
    if targets is not None:
        raise ArgumentError(
            f"targets counts the last columns of a .csv file; {source} has its own: {', '.join(table.targets)}"
        )
    return table


def _named(name: str, folder: Path | None) -> Table:
    if name in ("diabetes", "linnerud"):
        return _scikit_learn(name)
    if folder is not None and not folder.is_dir():
        raise DataError(f"data-dir {folder} is not a folder{near(folder)}")
    for place in (folder, embedded_folder()):
        files = [] if place is None else [place / name / f"{name}_{part}.ts" for part in ("TRAIN", "TEST")]
        if any(file.is_file() for file in files):
            return _series(name, [file for file in files if file.is_file()])
    raise DataError(
        f"data set {name!r} is unknown; accepted: {', '.join(EMBEDDED)}, a path to a .csv file, or a regression "
        f"data set whose <name>/<name>_TRAIN.ts lies in data-dir{did_you_mean(name, EMBEDDED)}"
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
    series: list[Series] = []
    goals: list[float] = []
    for file in files:
        header, cases, values = read_series(file)
        if not header.target:
            raise DataError(f"{file} holds no regression target (@targetLabel)")
        series.extend(cases)
        try:
            goals.extend(map(float, values))
        except ValueError:
            bad = next(value for value in values if not is_number(value))
            raise DataError(f"{file}: a target is {bad!r}; a number is needed") from None
    shapes = {case.shape for case in series}
    if len(shapes) != 1:
        raise DataError(f"{name}: series have {len(shapes)} different shapes; flattening needs one")
    inputs, outputs = np.stack(series).reshape(len(series), -1), np.array(goals)[:, None]
    if not (np.isfinite(inputs).all() and np.isfinite(outputs).all()):
        raise DataError(f"{name}: holds values that are missing or infinite; every number is needed")
    return Table(name, inputs, outputs, tuple(f"t{column}" for column in range(inputs.shape[1])), ("target",))


def _read_csv(path: Path, targets: int) -> Table:
    lines, comma = read_lines(path)
    names = _names(path, lines)
    rows = named_rows(path, names, lines, comma)
    if not rows.lines:
        raise DataError(f"{path}: holds no cases; at least one line of numbers is needed")
    count = len(rows.names)
    if count <= targets:
        raise DataError(
            f"{path}: has {count} column{'s'[: count != 1]}; {targets} of them as targets leave no feature"
        )
    numbers = np.array(
        [[rows.number(line, place, cell) for place, cell in enumerate(row)] for line, row in rows.lines]
    )
    if not np.isfinite(numbers).all():
        row, column = np.argwhere(~np.isfinite(numbers))[0]
        line, cells = rows.lines[row]
        where = f"{path}, line {line}: {rows.names[column]}"
        raise DataError(f"{where} is {cells[column]!r}; a finite number is needed")
    X, Y = numbers[:, :-targets], numbers[:, -targets:]
    return Table(path.stem, X, Y, rows.names[:-targets], rows.names[-targets:])


def _names(path: Path, lines: list[Line]) -> list[str]:
    """Names of the columns, taken off the lines where the first one holds them."""
    if not lines:
        return []
    line, first = lines[0]
    counted = [str(place) for place in range(len(first))]  # what pandas writes for columns without names
    if (first[0] == "" and first[1:] == counted[:-1]) or not any(map(is_number, first)):
        return lines.pop(0)[1]
    if len(first) > 1 and first == counted:
        raise DataError(
            f"{path}, line {line}: {','.join(first)} may be names of columns or numbers; write names as words, or "
            "numbers with a decimal point"
        )
    return [f"column {column}" for column in range(1, len(first) + 1)]
