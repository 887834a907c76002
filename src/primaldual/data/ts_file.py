"""Read ``.ts`` files, the format of the time series classification archive."""

from __future__ import annotations

from pathlib import Path

from primaldual.data.dataset import Dataset, build
from primaldual.data.pair import Parts, one_line
from primaldual.errors import DataError


def read_ts(path: Path) -> Parts:
    """Read a ``.ts`` file, and its partner when the name ends in ``_TRAIN`` or ``_TEST``.

    Raises:
        DataError: the file is missing or malformed.
    """
    stem = path.stem
    for ending in ("_TRAIN", "_TEST"):
        if stem.upper().endswith(ending):
            base = stem[: -len(ending)]
            files = {part: _partner(path.parent, base, part) for part in ("train", "test")}
            found = {part: read_ts_part(file, base) for part, file in files.items() if file is not None}
            return Parts(found, found.get(ending[1:].lower()))
    return Parts({"all": read_ts_part(path, stem)})


def read_ts_part(path: Path, name: str) -> Dataset:
    """Read exactly one ``.ts`` file.

    Raises:
        DataError: the file is missing, malformed, or holds a regression target.
    """
    from aeon.datasets import load_from_ts_file

    try:
        cases, labels, header = load_from_ts_file(str(path), return_meta_data=True)
    except FileNotFoundError as error:
        raise DataError(f"data file {path} does not exist") from error
    except (OSError, ValueError, IndexError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as a .ts file: {one_line(error)}") from error
    if header["targetlabel"]:
        raise DataError(f"{path} holds a regression target (@targetLabel); @classLabel is needed")
    return build(name, list(cases), list(labels) if header["classlabel"] else None, f"read from {path.name}")


def _partner(folder: Path, base: str, part: str) -> Path | None:
    for file in sorted(folder.glob("*.ts")):
        if file.stem.upper() == f"{base}_{part}".upper():
            return file
    return None
