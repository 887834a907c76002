"""Series out of data frames of pandas and polars: a row for each case and time point, or a row for each case."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from primaldual.data.cells import listed
from primaldual.data.csv_wide import wide_channels
from primaldual.data.frame_columns import Column, channel_numbers, times_in_order
from primaldual.data.reading import PLAIN, Reading
from primaldual.errors import DataError, did_you_mean

MEANINGS = ("case", "time", "label", "split")


@dataclass(frozen=True)
class FrameCases:
    """What a frame holds, as the estimators take it.

    Attributes:
        X: (channels, time points) each, NaN where a value is missing.
        y: the label of each case in the frame's own type; None without a column of labels.
        channel_names: a name for each channel.
        case_names: what the frame calls each case.
    """

    X: list[NDArray[np.float64]]
    y: Column | None
    channel_names: tuple[str, ...]
    case_names: tuple[Any, ...]


def is_case_frame(X: object) -> bool:
    """Whether something is a frame whose columns `from_frame` can read: case and time, or numbered time points.

    Example:
        >>> import pandas as pd
        >>> is_case_frame(pd.DataFrame({"case": [0], "time": [0], "x": [1.0]})), is_case_frame(np.zeros((2, 3)))
        (True, False)
    """
    names = _names(X)
    if names is None:
        return False
    at = _meanings(names, PLAIN)
    others = [name for name in names if name not in at.values()]
    return {"case", "time"} <= at.keys() or ("time" not in at and wide_channels(others) is not None)


def from_frame(frame: Any, reading: Reading = PLAIN) -> FrameCases:
    """Read a data frame of pandas or polars by the names of its columns, as files are read.

    In a long frame ``case`` names the series that a row belongs to, ``time`` orders its rows (numbers or dates), and
    ``label``, the same in every row of a case, is its class or target; every other column is a channel. In a wide frame a
    row is a case, and numbered columns are its time points: ``t0, t1`` or ``x0, x1, y0, y1``.

    Args:
        frame: what has named columns; cases keep the order in which they first occur.
        reading: other names for the columns.

    Raises:
        DataError: a column that is missing or of another kind, a time that occurs twice, or labels that differ in a case.

    Example:
        >>> import pandas as pd
        >>> frame = pd.DataFrame({"case": ["a", "a", "b"], "time": [1, 0, 0], "label": [7, 7, 8], "x": [2.0, 1.0, 3.0]})
        >>> cases = from_frame(frame)
        >>> [series.tolist() for series in cases.X], cases.y.tolist(), cases.channel_names
        ([[[1.0, 2.0]], [[3.0]]], [7, 8], ('x',))
    """
    names = _names(frame)
    if names is None:
        raise DataError(f"a data frame with named columns is needed; got {type(frame).__name__}")
    columns = {name: np.asarray(frame[own]) for name, own in names.items()}
    at = _meanings(columns, reading)
    if "split" in at:
        raise DataError(
            f"the frame has a column {at['split']!r}; give the rows of one part, without that column"
        )
    others = [name for name in columns if name not in at.values()]
    wide = None if "time" in at else wide_channels(others)
    if wide is not None:
        return _wide(columns, at, wide, others, reading)
    if missing := [meaning for meaning in ("case", "time") if meaning not in at]:
        verb = "are" if len(missing) > 1 else "is"
        raise DataError(
            f"the frame has the columns {listed(columns)}; {' and '.join(missing)} {verb} not among them. Needed: "
            "case, time and at least one channel, or numbered columns, t0, t1, ..."
        )
    return _long(columns, at, _channels(others, reading))


def _names(frame: Any) -> dict[str, Any] | None:
    """The columns' names as text, with their own; None for what is not a flat frame."""
    own = getattr(frame, "columns", None)
    if own is None or isinstance(frame, np.ndarray) or not hasattr(frame, "__getitem__"):
        return None
    if any(hasattr(index, "levels") for index in (own, getattr(frame, "index", None))):
        return None
    names = {str(name): name for name in own}
    return names if len(names) == len(list(own)) else None


def _meanings(names: Iterable[str], reading: Reading) -> dict[str, str]:
    """The column of each meaning that is there; names that were not given may be in capitals."""
    names, given, at = list(names), reading.columns, {}
    for meaning in MEANINGS:
        name = reading.name(meaning, names)
        alike = [other for other in names if other == name] or [
            other for other in names if other.lower() == name and meaning not in given
        ]
        if meaning in given and not alike:
            raise DataError(
                f"the frame has no column {name!r} for {meaning}; columns: {listed(names)}{did_you_mean(name, names)}"
            )
        if len(alike) == 1:
            at[meaning] = alike[0]
    return at


def _channels(names: list[str], reading: Reading) -> list[str]:
    chosen = names if reading.chosen_channels is None else list(dict.fromkeys(reading.chosen_channels))
    unknown = [name for name in chosen if name not in names]
    if unknown or not chosen:
        raise DataError(f"the frame has no channel {listed(unknown) or 'at all'}; accepted: {listed(names)}")
    return chosen


def _long(columns: Mapping[str, Column], at: Mapping[str, str], channels: list[str]) -> FrameCases:
    import pandas as pd

    cases = columns[at["case"]]
    if not len(cases):
        raise DataError("the frame holds no cases; at least one row is needed")
    numbers, found = pd.factorize(cases)
    if (numbers < 0).any():
        raise DataError(
            f"column {at['case']!r} is missing in row {int(np.argmax(numbers < 0))}; it names the series"
        )
    times = times_in_order(at["time"], columns[at["time"]])
    order = np.lexsort((times, numbers))
    numbers, times = numbers[order], times[order]
    starts = np.flatnonzero(np.diff(numbers, prepend=-1))
    twice = np.flatnonzero((np.diff(numbers) == 0) & (np.diff(times) == 0))
    if len(twice):
        raise DataError(
            f"case {found[numbers[twice[0]]]!s}: {at['time']} {columns[at['time']][order[twice[0]]]!s} occurs twice"
        )
    values = np.stack([channel_numbers(name, columns[name]) for name in channels])[:, order]
    series = [np.ascontiguousarray(one) for one in np.split(values, starts[1:], axis=1)]
    labels = None
    if "label" in at:
        column = columns[at["label"]][order]
        labels = column[starts]
        same = pd.Series(column).reset_index(drop=True).eq(pd.Series(labels[numbers]).reset_index(drop=True))
        if not (same | pd.isna(column)).all():
            raise DataError(
                f"column {at['label']!r} must be the same in every row of a case; {_first(same, found, numbers)}"
            )
    return FrameCases(series, labels, tuple(channels), tuple(found.tolist()))


def _first(same: Any, found: Column, numbers: NDArray[np.intp]) -> str:
    return f"case {found[numbers[int(np.argmin(same))]]!s} has several"


def _wide(
    columns: Mapping[str, Column],
    at: Mapping[str, str],
    wide: Mapping[str, list[int]],
    others: list[str],
    reading: Reading,
) -> FrameCases:
    channels = _channels(list(wide), reading)
    points = [
        [channel_numbers(others[place], columns[others[place]]) for place in wide[name]] for name in channels
    ]
    values = np.asarray(points).transpose(2, 0, 1)
    if not len(values):
        raise DataError("the frame holds no cases; at least one row is needed")
    names = columns[at["case"]].tolist() if "case" in at else range(len(values))
    labels = columns[at["label"]] if "label" in at else None
    return FrameCases(list(values), labels, tuple(channels), tuple(names))
