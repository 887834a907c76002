"""The series of a ``.ts`` file, checked against its header."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np

from primaldual.data.cells import listed, number, point_in_time
from primaldual.data.dataset import Series
from primaldual.data.labels import MISSING, one_spelling
from primaldual.data.pair import one_line
from primaldual.data.ts_header import COMMENTS, Lines, TsHeader, read_header
from primaldual.errors import DataError, did_you_mean

_OUTSIDE = re.compile(r":(?![^()]*\))")
_PAIR = r"\(\s*([^()]*)\s*\)"
_PAIRS = re.compile(rf"\s*{_PAIR}(?:\s*,\s*{_PAIR})*\s*")


def read_series(path: Path, labelled: bool = True) -> tuple[TsHeader, list[Series], list[str]]:
    """Header, series (channels, time points) and the text after the last colon of every line.

    Labels are as the file writes them. Timestamps must increase and be the same for all channels of a
    series; models see the order of the values, not the times.

    Args:
        path: of the file.
        labelled: False allows missing labels.

    Raises:
        DataError: the file is missing or does not keep to its header; the message names the line.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            lines = ((line, text.strip()) for line, text in enumerate(file, start=1))
            header = read_header(path, lines)
            return header, *_body(path, header, lines, labelled)
    except FileNotFoundError as error:
        raise DataError(f"data file {path} does not exist") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read as a .ts file: {one_line(error)}") from error


def _body(path: Path, header: TsHeader, lines: Lines, labelled: bool) -> tuple[list[Series], list[str]]:
    cases: list[Series] = []
    labels: list[str] = []
    accepted = {**dict.fromkeys(header.classes), **({} if labelled else {"?": None, "": None})}
    values = _timed if header.timestamps else _plain
    for line, text in lines:
        if not text or text.startswith(COMMENTS):
            continue
        fields = _OUTSIDE.split(text) if header.timestamps else text.split(":")
        label = fields.pop().strip() if header.labelled else ""
        try:
            if header.classes:
                label = _known(label, [*accepted])
            series = _joined([values(field) for field in fields])
            _check(header, series, cases)
        except ValueError as error:
            raise DataError(f"{path}, line {line}: {error}") from None
        cases.append(series)
        labels.append(label)
    return cases, labels


def _known(label: str, classes: list[str]) -> str:
    (spelled,) = one_spelling([label], classes)
    if spelled in classes:
        return spelled
    given = (
        f"label {label[:40]!r} is none" if label.lower() not in MISSING else "the label is missing; it is one"
    )
    raise ValueError(f"{given} of the classes in the header, {listed(classes)}{did_you_mean(label, classes)}")


def _plain(field: str) -> tuple[list[float], list[float]]:
    """Times, which are not written, and values."""
    if "_" not in field:
        try:  # quick, for the files of the archive
            return [], [float(cell) for cell in field.split(",")]
        except ValueError:
            pass
    return [], [_read(_value, cell, "value", "a number or ?") for cell in field.split(",")]


def _timed(field: str) -> tuple[list[float], list[float]]:
    """Times and values."""
    if not _PAIRS.fullmatch(field):
        raise ValueError(
            f"{field.strip()[:40]!r} is not a list of (time,value), which @timestamps true asks for"
        )
    pairs = [pair.rpartition(",") for pair in re.findall(_PAIR, field)]
    times = [_read(point_in_time, when, "time", "a number or an ISO date") for when, _, _ in pairs]
    if any(later <= earlier for earlier, later in pairwise(times)):
        raise ValueError("times do not increase")
    return times, [_read(_value, value, "value", "a number or ?") for _, _, value in pairs]


def _value(cell: str) -> float:
    if not cell.strip():
        raise ValueError(cell)
    return number(cell)


def _read(read: Callable[[str], float], text: str, what: str, needed: str) -> float:
    try:
        return read(text)
    except ValueError:
        raise ValueError(f"a {what} is {text.strip()[:40]!r}; {needed} is needed") from None


def _joined(channels: list[tuple[list[float], list[float]]]) -> Series:
    if not channels:
        raise ValueError("there is no series before the label")
    lengths = {len(values) for _, values in channels}
    if len(lengths) > 1:
        raise ValueError(f"channels have different lengths, {listed(sorted(lengths))}")
    if any(times != channels[0][0] for times, _ in channels):
        raise ValueError("channels have different times")
    return np.array([values for _, values in channels], dtype=np.float64)


def _check(header: TsHeader, series: Series, former: list[Series]) -> None:
    channels, length = series.shape
    if header.univariate and channels > 1:
        raise ValueError(f"{channels} channels; the header says @univariate true")
    if header.dimensions not in {None, channels}:
        raise ValueError(f"{channels} channels; the header says @dimensions {header.dimensions}")
    if former and former[0].shape[0] != channels:
        raise ValueError(f"{channels} channels; the first series has {former[0].shape[0]}")
    if header.series_length not in {None, length} and header.equal_length is not False:
        raise ValueError(f"length {length}; the header says @seriesLength {header.series_length}")
    if header.equal_length and former and former[0].shape[1] != length:
        raise ValueError(
            f"length {length}, the first {former[0].shape[1]}; the header says @equalLength true"
        )
