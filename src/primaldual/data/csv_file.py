"""Read series from ``.csv`` files: a row for each case and time point, or a row for each case."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from primaldual.data.cells import listed, point_in_time
from primaldual.data.csv_columns import chosen_channels, meanings
from primaldual.data.csv_rows import Rows, named_rows, read_lines
from primaldual.data.csv_wide import wide_channels, wide_rows
from primaldual.data.dataset import Dataset, Series, build
from primaldual.data.pair import Parts
from primaldual.data.reading import PLAIN, Reading
from primaldual.errors import DataError

_SPLITS = ("train", "test")
_NO_CHANNEL = (
    "; if the column is not a channel, name the channels (--channels) or the column of labels (--label)"
)


@dataclass
class Case:
    """A series as it is gathered.

    Args:
        label: as written, None where there is no column of labels or it is not used.
        split: "train", "test" or "all".
        points: values of all channels, by time.
    """

    label: str | None
    split: str
    points: dict[float, list[float]] = field(default_factory=dict)

    @property
    def series(self) -> Series:
        """(channels, time points), ordered by time."""
        return np.array([self.points[moment] for moment in sorted(self.points)]).T


def read_csv(path: Path, reading: Reading = PLAIN) -> Parts:
    """Read a ``.csv`` file with a header row.

    Columns: ``case`` names the series a row belongs to, ``time`` orders its rows (any number, or a date in
    the ISO format), ``label`` is the class and the same in every row of a case (leave the column out for
    series to be predicted), ``split`` says train or test (optional). **Every other column is a channel**; an
    empty cell, NA or ? is a missing value. ``reading`` gives these columns other names. ::

        case,time,label,height,width
        a,0,cat,1.5,2.0
        a,1,cat,1.6,

    Without a column of times, a row is a case, and columns that are numbered are its time points: ``t0,t1,t2``,
    or ``height0,height1,width0,width1`` for two channels.

    Raises:
        DataError: the file is missing or malformed; the message names the line.
    """
    lines, comma = read_lines(path)
    if not lines:
        raise DataError(f"{path}: the header is empty; it needs case, time and at least one channel")
    (_, header), *body = lines
    rows = named_rows(path, header, body, comma, reading.named)
    at = meanings(rows, reading)
    values = [place for place in range(len(rows.names)) if place not in at.values()]
    wide = None if "time" in at else wide_channels([rows.names[place] for place in values])
    names: tuple[str, ...] | None
    if wide is None:
        _check_long(rows, at, values)
        names = chosen_channels(path, [rows.names[place] for place in values], reading)
        cases = _long_cases(rows, at, [rows.names.index(name) for name in names], reading.labelled)
    else:
        names = chosen_channels(path, list(wide), reading)
        cases = _wide_cases(
            rows, at, [[values[place] for place in wide[name]] for name in names], reading.labelled
        )
        names = names if len(wide) > 1 else None
    parts = _SPLITS if "split" in at else ("all",)
    members = {part: {name: case for name, case in cases.items() if case.split == part} for part in parts}
    found = {part: _dataset(path, inside, names, "case" in at) for part, inside in members.items() if inside}
    if not found:
        raise DataError(f"{path}: holds no cases; at least one row is needed after the header")
    return Parts(found)


def _check_long(rows: Rows, at: Mapping[str, int], values: list[int]) -> None:
    missing = [meaning for meaning in ("case", "time") if meaning not in at]
    if missing or not values:
        lacks = " and ".join(missing) or "a channel"
        verb = "are" if len(missing) > 1 else "is"
        raise DataError(
            f"{rows.path}: the columns are {listed(rows.names)}; {lacks} {verb} not among them. Needed: case, time and "
            "at least one channel, optionally label and split (name others with --case, --time, --label and --channels, in "
            "Python with Reading); or a row for each case with numbered columns, t0, t1, ..."
        )


def _wide_cases(
    rows: Rows, at: Mapping[str, int], channels: list[list[int]], labelled: bool
) -> dict[str, Case]:
    cases = {}
    for name, line, row, points in wide_rows(rows, at.get("case"), channels):
        label, split = _label_and_split(rows, line, row, at, labelled)
        cases[name] = Case(label, split, dict(enumerate(points)))
    return cases


def _long_cases(rows: Rows, at: Mapping[str, int], channels: list[int], labelled: bool) -> dict[str, Case]:
    cases: dict[str, Case] = {}
    for line, row in rows.lines:
        label, split = _label_and_split(rows, line, row, at, labelled)
        if not row[at["case"]]:
            raise DataError(f"{rows.path}, line {line}: the case is empty; it names the series of the row")
        case = cases.setdefault(row[at["case"]], Case(label, split))
        if (case.label, case.split) != (label, split):
            raise DataError(
                f"{rows.path}, line {line}: label and split must be the same in every row of a case"
            )
        moment = _moment(rows, line, row[at["time"]])
        if moment in case.points:
            raise DataError(
                f"{rows.path}, line {line}: time {row[at['time']]!r} occurs twice in case {row[at['case']]!r}"
            )
        case.points[moment] = [rows.number(line, place, row[place], _NO_CHANNEL) for place in channels]
    return cases


def _label_and_split(
    rows: Rows, line: int, row: list[str], at: Mapping[str, int], labelled: bool
) -> tuple[str | None, str]:
    split = row[at["split"]].lower() if "split" in at else "all"
    if "split" in at and split not in _SPLITS:
        raise DataError(f"{rows.path}, line {line}: split is {split!r}; train or test is accepted")
    return row[at["label"]] if labelled and "label" in at else None, split


def _moment(rows: Rows, line: int, text: str) -> float:
    try:
        return point_in_time(text, rows.comma)
    except ValueError:
        if not text or text.lower() == "nan":
            raise DataError(
                f"{rows.path}, line {line}: time is {text!r}; a number or an ISO date is needed"
            ) from None
        raise DataError(
            f"{rows.path}, line {line}: time is {text[:40]!r}; a number or an ISO date is needed"
        ) from None


def _dataset(path: Path, cases: Mapping[str, Case], channels: tuple[str, ...] | None, named: bool) -> Dataset:
    labels = [case.label for case in cases.values()]
    return build(
        path.stem,
        [case.series for case in cases.values()],
        None if all(label is None for label in labels) else labels,
        f"read from {path.name}",
        channel_names=channels,
        case_names=tuple(cases) if named else None,
    )
