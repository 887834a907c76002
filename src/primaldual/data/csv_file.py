"""Read ``.csv`` files in long form: one row per case and time point."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from primaldual.data.dataset import Dataset, build
from primaldual.data.pair import Parts, one_line
from primaldual.errors import DataError

_RESERVED = ("case", "time", "label", "split")
_SPLITS = ("train", "test")


@dataclass
class _Case:
    label: str | None
    split: str
    rows: dict[float, list[float]] = field(default_factory=dict)


def read_csv(path: Path) -> Parts:
    """Read a ``.csv`` file with a header row.

    Columns: ``case`` names the series a row belongs to, ``time`` orders its rows (any number), ``label``
    is the class and the same in every row of a case (leave the column out for series to be predicted),
    ``split`` says train or test (optional). **Every other column is a channel**; an empty cell is a
    missing value. ::

        case,time,label,height,width
        a,0,cat,1.5,2.0
        a,1,cat,1.6,

    Raises:
        DataError: the file is missing or malformed; the message names the line.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            cases, split = _cases(path, csv.reader(file))
    except FileNotFoundError as error:
        raise DataError(f"data file {path} does not exist") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as a .csv file: {one_line(error)}") from error
    groups = _SPLITS if split else ("all",)
    parts = {group: [case for case in cases.values() if case.split == group] for group in groups}
    return Parts({group: _dataset(path, members) for group, members in parts.items() if members or not split})


def _cases(path: Path, reader: Iterator[list[str]]) -> tuple[dict[str, _Case], bool]:
    header = [name.strip() for name in next(reader, [])]
    missing = [name for name in ("case", "time") if name not in header]
    channels = [index for index, name in enumerate(header) if name not in _RESERVED]
    if missing or not channels or len(set(header)) != len(header):
        raise DataError(
            f"{path}: the header is {','.join(header) or 'empty'}; it needs case, time and at least "
            "one channel, optionally label and split, each once"
        )
    at = {name: header.index(name) for name in _RESERVED if name in header}
    cases: dict[str, _Case] = {}
    for line, row in enumerate(reader, start=2):
        if not row:
            continue
        if len(row) != len(header):
            raise DataError(f"{path}, line {line}: {len(row)} cells; the header has {len(header)} columns")
        label = row[at["label"]].strip() if "label" in at else None
        split = row[at["split"]].strip().lower() if "split" in at else "all"
        if "split" in at and split not in _SPLITS:
            raise DataError(f"{path}, line {line}: split is {split!r}; train or test is accepted")
        case = cases.setdefault(row[at["case"]].strip(), _Case(label, split))
        if (case.label, case.split) != (label, split):
            raise DataError(f"{path}, line {line}: label and split must be the same in every row of a case")
        time = _number(path, line, "time", row[at["time"]])
        if np.isnan(time) or time in case.rows:
            raise DataError(f"{path}, line {line}: time {row[at['time']]!r} is missing or repeated")
        case.rows[time] = [_number(path, line, header[index], row[index]) for index in channels]
    return cases, "split" in at


def _number(path: Path, line: int, column: str, text: str) -> float:
    try:
        return float(text) if text.strip() else float("nan")
    except ValueError as error:
        raise DataError(f"{path}, line {line}: {column} is {text!r}; a number is needed") from error


def _dataset(path: Path, members: list[_Case]) -> Dataset:
    series = [np.array([case.rows[time] for time in sorted(case.rows)]).T for case in members]
    labels = [case.label for case in members]
    unlabelled = all(label is None for label in labels)
    return build(path.stem, series, None if unlabelled else labels, f"read from {path.name}")
