"""Tables with a row for each series: columns that are numbered are time points."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from primaldual.data.csv_rows import Rows
from primaldual.errors import DataError

_POINT = re.compile(r"(.*?)[ _.\-]?(\d+)")


def wide_channels(names: Sequence[str]) -> dict[str, list[int]] | None:
    """Places of the columns of each channel, in the order of their numbers; None for names of another kind.

    Example:
        >>> wide_channels(["x_1", "x_2", "y_1", "y_2"]), wide_channels(["height", "width"])
        ({'x': [0, 1], 'y': [2, 3]}, None)
    """
    points: dict[str, dict[int, int]] = {}
    for place, name in enumerate(names):
        match = _POINT.fullmatch(name)
        if match is None:
            return None
        points.setdefault(match.group(1), {})[int(match.group(2))] = place
    counts = {tuple(sorted(numbers)) for numbers in points.values()}
    if len(counts) != 1 or sum(map(len, points.values())) < len(names):
        return None
    (numbers,) = counts
    if len(numbers) < 2 or numbers != tuple(range(numbers[0], numbers[0] + len(numbers))):
        return None
    return {name: [places[count] for count in numbers] for name, places in points.items()}


def wide_rows(
    rows: Rows, case: int | None, channels: list[list[int]]
) -> Iterator[tuple[str, int, list[str], list[list[float]]]]:
    """Name, line, cells and values at each time of every row.

    Raises:
        DataError: a case in two rows, or a cell that is not a number.
    """
    former: dict[str, int] = {}
    for count, (line, row) in enumerate(rows.lines):
        name = str(count) if case is None else row[case]
        if name in former:
            raise DataError(
                f"{rows.path}, line {line}: case {name!r} is in line {former[name]} too. Which column orders the "
                "rows of a case? It is called time, or named so"
            )
        former[name] = line
        series = [[rows.number(line, place, row[place]) for place in channel] for channel in channels]
        yield name, line, row, [list(point) for point in zip(*series, strict=True)]
