"""Texts in columns of a table."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from primaldual.errors import DataError, did_you_mean
from primaldual.sequences.texts import PARTS, Texts, corpus_of
from primaldual.sequences.token_sets import Corpus

DELIMITERS = {".csv": ",", ".tsv": "\t"}
"""Endings of tables and what separates their columns."""


def read_text_tables(data: Path, columns: Sequence[str]) -> Corpus:
    """A table, or a folder with ``train.csv`` and ``test.csv``, and ``val.csv`` or not; or the same of ``.tsv``.

    The first line names the columns.

    Args:
        data: file or folder.
        columns: names of the columns of the text, or of both texts of a pair, and at last of the label.

    Raises:
        DataError: no such files or columns, or a text or label that is missing.
    """
    if data.is_file():
        return corpus_of({"training": _table(data, columns)})
    found = {
        part: path for part, names in PARTS.items() for name in names[::-1] if (path := _file(data, name))
    }
    if not {"training", "test"} <= found.keys():
        raise DataError(
            f"data {data} must hold train and test tables ({' or '.join(DELIMITERS)}) for columns"
        )
    return corpus_of({part: _table(path, columns) for part, path in found.items()})


def _file(folder: Path, name: str) -> Path | None:
    return next((path for ending in DELIMITERS if (path := folder / f"{name}{ending}").is_file()), None)


def _table(path: Path, columns: Sequence[str]) -> Texts:
    lines = _lines(path)
    names = lines[0][1] if lines else []
    for column in columns:
        if column not in names:
            shown = ", ".join(names[:20]) or "none"
            raise DataError(f"{path} has no column {column!r}; it has {shown}{did_you_mean(column, names)}")
    places = [names.index(column) for column in columns]
    cases, labels = [], []
    for line, cells in lines[1:]:
        if len(cells) != len(names):
            raise DataError(
                f"{path}, line {line}: {len(cells)} cells; the first line names {len(names)} columns"
            )
        *texts, label = (cells[place] for place in places)
        if not label.strip() or not all(texts):
            raise DataError(f"{path}, line {line}: a text or label is missing; every case needs both")
        cases.append(tuple(text.encode("utf-8") for text in texts))
        labels.append(label.strip())
    return Texts(cases, labels)


def _lines(path: Path) -> list[tuple[int, list[str]]]:
    """Lines that are not blank, with the number of the last line of the file that each one covers."""
    if path.suffix.lower() not in DELIMITERS:
        raise DataError(
            f"data file {path} has ending {path.suffix or 'none'}; accepted: {', '.join(DELIMITERS)}"
        )
    limit = csv.field_size_limit(2**31 - 1)
    try:
        text = path.read_text(encoding="utf-8-sig")
        reader = csv.reader(
            io.StringIO(text, newline=""), delimiter=DELIMITERS[path.suffix.lower()], strict=True
        )
        return [(reader.line_num, cells) for cells in reader if cells]
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    except (OSError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as a table: {error}") from error
    finally:
        csv.field_size_limit(limit)
