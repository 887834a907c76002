"""The rows of a ``.csv`` file under the names of their columns, whatever program wrote it."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from primaldual.data.cells import is_decimal_comma, number
from primaldual.data.pair import one_line
from primaldual.errors import DataError

DELIMITERS = (";", "\t", "|")
"""What separates columns instead of a comma."""

Line = tuple[int, list[str]]
"""Number of a line in the file, and its cells."""

_NAMELESS = re.compile(r"|Unnamed: \d+")
_INDEX = re.compile(r"|Unnamed: \d+|index|level_0")


@dataclass(frozen=True)
class Rows:
    """Named columns.

    Args:
        path: of the file.
        names: of the columns, each once.
        lines: as many cells as names in each.
        comma: whether the decimal sign is a comma.
    """

    path: Path
    names: tuple[str, ...]
    lines: list[Line]
    comma: bool

    def number(self, line: int, column: int, text: str, advice: str = "") -> float:
        """The number in a cell, NaN where it is missing.

        Args:
            line: of the cell.
            column: of the cell.
            text: in the cell.
            advice: the end of the message about a text that is not a number with a decimal comma.

        Raises:
            DataError: it is none; the message names line and column.
        """
        try:
            return number(text, self.comma)
        except ValueError:
            hint = (
                "; is a decimal comma meant? Columns are then separated by ;"
                if is_decimal_comma(text)
                else advice
            )
            where = f"{self.path}, line {line}: {self.names[column]}"
            raise DataError(f"{where} is {text[:40]!r}; a number is needed{hint}") from None


def read_lines(path: Path) -> tuple[list[Line], bool]:
    """Lines that are not blank, and whether their decimal sign is a comma.

    Columns are separated by commas, semicolons, tabs or bars; numbers have a decimal comma only where
    semicolons separate them.

    Raises:
        DataError: the file is missing or cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise DataError(f"data file {path} does not exist") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text (byte {error.start}); save it as CSV UTF-8") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read as a .csv file: {one_line(error)}") from error
    delimiter = _delimiter(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        lines = [(reader.line_num, row) for cells in reader if any(row := [cell.strip() for cell in cells])]
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {one_line(error)}") from error
    lines = lines[1:] if lines and lines[0][1] == ["sep=", ""] else lines
    comma = delimiter == ";" and any(is_decimal_comma(cell) for _, row in lines for cell in row)
    return lines, comma


def named_rows(
    path: Path, names: Sequence[str], lines: list[Line], comma: bool, wanted: Collection[str] = ()
) -> Rows:
    """Rows under names, without the columns that hold nothing: an index that counts the lines, trailing commas.

    Args:
        path: of the file.
        names: of the columns, as the header has them.
        lines: the rows after the header.
        comma: whether the decimal sign is a comma.
        wanted: columns that stay whatever they hold.

    Raises:
        DataError: a row of another length, a column with values but no name, or a name that occurs twice.
    """
    width = len(names)
    for line, row in lines:
        if len(row) == width:
            continue
        if any(row[width:]) or len(row) < len(_trimmed(names)):
            hint = ""
            if len(row) > width:
                hint = "; decimal commas need another separator than a comma, such as ;"
            raise DataError(f"{path}, line {line}: {len(row)} cells; the header has {width} columns{hint}")
        row[:] = [*row[:width], *[""] * (width - len(row))]
    kept = []
    for place, name in enumerate(names):
        if name not in wanted and _INDEX.fullmatch(name):
            column = [row[place] for _, row in lines]
            nameless = _NAMELESS.fullmatch(name)
            if column == [str(count) for count in range(len(lines))] or (nameless and not any(column)):
                continue
            if nameless:
                raise DataError(
                    f"{path}: column {place + 1} has values but no name; name it in the header, or remove it"
                )
        kept.append(place)
    found = tuple(names[place] for place in kept)
    twice = [name for name in dict.fromkeys(found) if found.count(name) > 1]
    if twice:
        raise DataError(f"{path}: the header names {', '.join(twice)} twice; each column needs its own name")
    if len(kept) < width:
        lines = [(line, [row[place] for place in kept]) for line, row in lines]
    return Rows(path, found, lines, comma)


def _trimmed(names: Sequence[str]) -> Sequence[str]:
    """Names without those at the end that are empty."""
    count = len(names)
    while count and not names[count - 1]:
        count -= 1
    return names[:count]


def _delimiter(text: str) -> str:
    """The separator of the first line: a comma unless it can only be a decimal sign there, or is missing."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    if re.fullmatch(r"sep=.", first):  # Excel's own remark
        return first[-1]
    for delimiter in DELIMITERS:
        cells = next(csv.reader([first], delimiter=delimiter), [])
        if len(cells) > 1 and all("," not in cell or is_decimal_comma(cell) for cell in cells):
            return delimiter
    return ","
