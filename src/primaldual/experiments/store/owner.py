"""Who works on a cell: a lock that the system takes away when its process ends, however it ends."""

from __future__ import annotations

import uuid
from pathlib import Path

from filelock import FileLock, Timeout

FOLDER = "working"


class Owner:
    """One process, or one opened store of it, that claims cells.

    Args:
        folder: folder of the store; locks lie in a folder beside the file of results.
    """

    def __init__(self, folder: Path) -> None:
        self.name = uuid.uuid4().hex
        self._folder = folder / FOLDER
        self._lock: FileLock | None = None

    def begin(self) -> None:
        """Hold the lock, before anything is claimed in this name."""
        if self._lock is None:
            self._folder.mkdir(exist_ok=True)
            self._lock = FileLock(_place(self._folder, self.name), thread_local=False)
            self._lock.acquire()

    def end(self) -> None:
        """Give the lock back, after all claims are."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None
            forget(self._folder.parent, self.name)


def is_at_work(folder: Path, name: str) -> bool:
    """Whether the process behind a name is still running.

    Args:
        folder: folder of the store.
        name: an owner's.
    """
    place = _place(folder / FOLDER, name)
    if not place.exists():
        return False
    lock = FileLock(place)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return True
    lock.release()
    return False


def forget(folder: Path, name: str) -> None:
    """Remove the lock of a process that is no longer at work."""
    _place(folder / FOLDER, name).unlink(missing_ok=True)
    try:
        (folder / FOLDER).rmdir()
    except OSError:
        return  # others are at work


def _place(folder: Path, name: str) -> Path:
    return folder / f"{name}.lock"
