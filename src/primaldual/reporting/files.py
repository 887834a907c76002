"""Files and folders that are written whole or not at all."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from primaldual.errors import ArgumentError, CheckpointError, PrimalDualError

FULL = r"No space left on device|disk is full|File too large|Disk quota exceeded"
"""What systems and libraries say of a disk that is full."""


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Yield a path beside ``target`` to write a file or a folder to; on success it replaces ``target``.

    The path has the target's name, in an empty folder of its own. After an error the target is what it was.

    Args:
        target: the place to write; the folders above it are made.

    Raises:
        OSError: the place cannot be written.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with replacing(Path(folder) / "notes.txt") as fresh:
        ...         _ = fresh.write_text("whole")
        ...     (Path(folder) / "notes.txt").read_text()
        'whole'
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as scratch:
        fresh, former = Path(scratch) / target.name, Path(scratch) / f"former-{target.name}"
        yield fresh
        # A file replaces a file in one step; a folder only takes a place that is free.
        if fresh.is_dir() and target.is_dir():
            os.replace(target, former)
        try:
            os.replace(fresh, target)
        except OSError:
            if former.exists():
                os.replace(former, target)
            raise


@contextmanager
def saving(target: Path) -> Iterator[Path]:
    """`replacing` for weights: a full disk or a place that cannot be written is a CheckpointError.

    Raises:
        CheckpointError: whatever the writer of the tensors raised for it.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder, saving(Path(folder) / "weights") as fresh:
        ...     _ = fresh.write_bytes(b"...")
    """
    try:
        with replacing(target) as fresh:
            yield fresh
    except Exception as error:
        reason = write_failure(error)
        if reason is None:
            raise
        raise CheckpointError(f"path {str(target)!r} cannot be written: {reason}") from error


def write_failure(error: Exception) -> str | None:
    """Why tensors could not be written, None for errors of another kind.

    torch raises a RuntimeError for a full disk, safetensors an error of its own that is not an OSError.

    Example:
        >>> write_failure(OSError(28, "No space left on device")), write_failure(KeyError("name"))
        ('the disk is full, or a limit on the size of files is reached', None)
    """
    if re.search(FULL, str(error), re.IGNORECASE) and not isinstance(error, PrimalDualError):
        return "the disk is full, or a limit on the size of files is reached"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    kinds = (OSError, RuntimeError)
    if isinstance(error, PrimalDualError) or not (
        isinstance(error, kinds) or type(error).__name__ == "SafetensorError"
    ):
        return None
    return " ".join(str(error).split())[:200]


def write_text(target: Path, text: str) -> None:
    """Write a text file in UTF-8, whole or not at all; what has no place in UTF-8, as in names of files, is escaped.

    Raises:
        ArgumentError: the file cannot be written.
    """
    try:
        with replacing(target) as fresh:
            fresh.write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise ArgumentError(
            f"file {target} cannot be written ({error.strerror}); give a writable place"
        ) from error


def check_writable(folder: Path) -> None:
    """Prove that files can be written in a folder, or in the nearest one above that exists; leave no trace.

    Raises:
        ArgumentError: they cannot.
    """
    existing = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    if not existing.is_dir():
        raise ArgumentError(f"out {folder} cannot be written: {existing} is a file; give a writable folder")
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise ArgumentError(
            f"out {folder} cannot be written ({error.strerror}); give a writable folder"
        ) from error


def is_free(place: Path) -> bool:
    """Whether nothing is lost by writing to a place: there is nothing, or an empty folder.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     is_free(Path(folder)), is_free(Path(folder) / "new")
        (True, True)
    """
    return not place.exists() or (place.is_dir() and not any(place.iterdir()))


def check_folder(folder: Path, kind: str, mark: str) -> None:
    """Refuse an output folder that cannot be written, or that holds something else than an earlier output of its kind.

    Args:
        folder: new, empty, or written by the same command before, which then replaces its files or goes on.
        kind: what the command writes, in words.
        mark: the name of a file that every output of this kind has.

    Raises:
        ArgumentError: as above.
    """
    check_writable(folder)
    if not (is_free(folder) or (folder / mark).exists()):
        raise ArgumentError(f"out {folder} exists and is not {kind}; give a new folder or an empty one")


def check_file(target: Path, kind: str, opening: bytes) -> None:
    """Refuse an output file that would replace something else than an earlier output of its kind.

    Args:
        target: new, or written by the same command before.
        kind: what the command writes, in words.
        opening: the first bytes of every output of this kind.

    Raises:
        ArgumentError: another file or a folder is there, or the place cannot be written.
    """
    check_writable(target.parent)
    if target.is_dir():
        raise ArgumentError(f"out {target} is a folder; a file name is needed")
    if target.exists():
        with target.open("rb") as file:
            found = file.read(len(opening))
        if found != opening:
            raise ArgumentError(f"out {target} exists and is not {kind}; it is left alone: give another name")
