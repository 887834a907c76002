"""Columns of data frames as numbers: channels and points in time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from primaldual.data.cells import number, point_in_time
from primaldual.errors import DataError

Column = NDArray[np.generic]


def channel_numbers(name: str, column: Column) -> NDArray[np.float64]:
    """A channel, NaN where a value is missing.

    Raises:
        DataError: a value that is not a number.

    Example:
        >>> channel_numbers("pulse", np.array([61.5, None, "NA"], dtype=object))
        array([61.5,  nan,  nan])
    """
    if column.dtype.kind in "fiub":
        return column.astype(np.float64)
    found = np.empty(len(column))
    for row, value in enumerate(column.tolist()):
        try:
            found[row] = np.nan if value is None else number(str(value).removeprefix("<NA>"))
        except ValueError:
            raise DataError(
                f"column {name!r} holds {str(value)[:40]!r} in row {row}; a channel holds numbers"
            ) from None
    return found


def times_in_order(name: str, column: Column) -> NDArray[Any]:
    """Numbers or dates, as numbers that order as they do.

    Raises:
        DataError: a value that is neither, or missing.

    Example:
        >>> times_in_order("day", np.array(["1970-01-02", "1970-01-01"], dtype="M8[D]")) // 10**9
        array([86400,     0])
    """
    if column.dtype.kind in "iub":
        return column.astype(np.int64)
    found: NDArray[Any]
    if column.dtype.kind in "mM":
        found, missing = column.astype(f"{column.dtype.kind}8[ns]").astype(np.int64), np.isnat(column)
    elif column.dtype.kind == "f":
        found, missing = column.astype(np.float64), ~np.isfinite(column)
    else:
        found, missing = np.empty(len(column)), np.zeros(len(column), dtype=bool)
        for row, value in enumerate(column.tolist()):
            try:
                found[row] = point_in_time(str(value))
            except ValueError:
                missing[row] = True
    if missing.any():
        row = int(np.argmax(missing))
        raise DataError(
            f"column {name!r} holds {str(column[row])[:40]!r} in row {row}; a time is a number or a date"
        )
    return found
