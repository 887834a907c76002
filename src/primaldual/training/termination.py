"""SIGTERM: a scheduler asks a run to end, and the run ends after a checkpoint."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

SIGTERM_STATUS = 128 + signal.SIGTERM


class TrainingTerminated(SystemExit):
    """SIGTERM ended a run after its checkpoint was written; the exit status is 143, as without a handler."""

    def __init__(self) -> None:
        super().__init__(SIGTERM_STATUS)


class Termination:
    """Inside a ``with`` statement, the first SIGTERM only sets ``asked``; a second one ends the process as usual.

    Only the main thread can set handlers; in another thread nothing changes.

    Args:
        watched: False leaves SIGTERM alone.

    Example:
        >>> import os
        >>> with Termination(watched=True) as termination:
        ...     os.kill(os.getpid(), signal.SIGTERM)
        ...     termination.asked
        True
    """

    def __init__(self, watched: bool) -> None:
        self.asked = False
        self._watched = watched and threading.current_thread() is threading.main_thread()
        self._former: Any = None

    def __enter__(self) -> Termination:
        if self._watched:
            self._former = signal.signal(signal.SIGTERM, self._ask)
        return self

    def __exit__(self, *error: object) -> None:
        if self._watched:
            signal.signal(signal.SIGTERM, self._former)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self.asked = True
        signal.signal(signal.SIGTERM, self._former)
