"""Failures of the machine rather than of the program, in one line each."""

from __future__ import annotations

import re
import sqlite3

from primaldual.errors import PrimalDualError
from primaldual.reporting.files import FULL

_KNOWN = {
    FULL: ("the disk is full, or a limit on the size of files is reached; nothing half-written is left"),
    r"out of memory|can't allocate memory|not enough memory|Unable to allocate": (
        "not enough memory; smaller sizes, a smaller --batch-size or fewer --jobs need less"
    ),
    r"Could not determine home directory": (
        "there is no home folder for this user; set HOME, or name folders without ~"
    ),
}
"""What libraries that write weights or allocate tensors say, in errors of their own kinds, and what to tell of it."""


def in_one_line(error: BaseException) -> str | None:
    """What to tell of an error that is not the program's fault; None for all others.

    Example:
        >>> in_one_line(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 8 bytes"))
        'not enough memory; smaller sizes, a smaller --batch-size or fewer --jobs need less'
    """
    if isinstance(error, PrimalDualError):
        return str(error)
    text = str(error) or ("out of memory" if isinstance(error, MemoryError) else "")
    for pattern, line in _KNOWN.items():
        if re.search(pattern, text, re.IGNORECASE):
            return line
    if isinstance(error, OverflowError):
        return f"a number is too large: {text}"
    if isinstance(error, sqlite3.Error):
        return f"the file of results cannot be used: {text}"
    if isinstance(error, OSError) and error.strerror:
        place = "" if error.filename is None else f" {error.filename}:"
        return f"cannot read or write:{place} {error.strerror}"
    return None
