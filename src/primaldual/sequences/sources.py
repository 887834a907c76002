"""Files that data sets are read from."""

from __future__ import annotations

import hashlib
from pathlib import Path

from primaldual.errors import DataError


def listing(data: Path) -> str:
    """A digest of the names, sizes and times of a file, or of all files of a folder.

    Raises:
        DataError: there is no such file or folder.
    """
    if not data.exists():
        raise DataError(f"data {data} does not exist; accepted are a folder and a file")
    files = [data] if data.is_file() else sorted(path for path in data.rglob("*") if path.is_file())
    digest = hashlib.sha256()
    for path in files:
        about = path.stat()
        name = path.relative_to(data).as_posix()
        digest.update(f"{name}\n{about.st_size}\n{about.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]
