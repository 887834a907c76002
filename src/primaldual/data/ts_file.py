"""Read ``.ts`` files, the format of the time series classification archive."""

from __future__ import annotations

from pathlib import Path

from primaldual.data.dataset import Dataset, build
from primaldual.data.pair import Parts
from primaldual.data.reading import PLAIN, Reading
from primaldual.data.ts_series import read_series
from primaldual.errors import DataError


def read_ts(path: Path, reading: Reading = PLAIN) -> Parts:
    """Read a ``.ts`` file, and its partner when the name ends in ``_TRAIN`` or ``_TEST``.

    Labels are kept as the file writes them; one that the header does not name is an error.

    Raises:
        DataError: the file is missing or malformed; the message names the line.
    """
    stem = path.stem
    for ending in ("_TRAIN", "_TEST"):
        if stem.upper().endswith(ending):
            base = stem[: -len(ending)]
            files = {part: _partner(path.parent, base, part) for part in ("train", "test")}
            found = {
                part: _read_part(file, base, reading) for part, file in files.items() if file is not None
            }
            return Parts(found, found.get(ending[1:].lower()))
    return Parts({"all": _read_part(path, stem, reading)})


def _read_part(path: Path, name: str, reading: Reading) -> Dataset:
    header, cases, labels = read_series(path, reading.labelled)
    if header.target:
        raise DataError(f"{path} holds a regression target (@targetLabel); @classLabel is needed")
    used = reading.labelled and header.labelled
    return build(name, cases, labels if used else None, f"read from {path.name}", classes=header.classes)


def _partner(folder: Path, base: str, part: str) -> Path | None:
    for file in sorted(folder.glob("*.ts")):
        if file.stem.upper() == f"{base}_{part}".upper():
            return file
    return None
