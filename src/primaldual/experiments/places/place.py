"""What a grid needs of a place where cells run, and how a cell's end is told."""

from __future__ import annotations

import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from primaldual.errors import PrimalDualError
from primaldual.experiments.execution import Job, Outcome, execute
from primaldual.experiments.store import Failure


@dataclass(frozen=True)
class Epoch:
    """A cell has finished an epoch.

    Attributes:
        key: of the cell.
        title: of the cell.
        entry: its history entry.
    """

    key: str
    title: str
    entry: Mapping[str, Any]


@dataclass(frozen=True)
class Done:
    """A cell has ended well."""

    key: str
    outcome: Outcome


Ending = Done | Failure
HearEpoch = Callable[[Epoch], None]


class Place(ABC):
    """Where cells run.

    Attributes:
        slots: cells at a time.
    """

    slots: int

    @abstractmethod
    def submit(self, job: Job) -> None:
        """Start a cell; at most ``slots`` are under way."""

    @abstractmethod
    def wait(self, hear: HearEpoch) -> list[Ending]:
        """Wait a moment for cells to end; meanwhile ``hear`` hears of epochs."""

    @abstractmethod
    def close(self) -> None:
        """Stop whatever is under way."""


def attempt(job: Job, hear: HearEpoch) -> Ending:
    """Execute a cell; whatever it raises becomes a failure.

    Args:
        job: cell and data.
        hear: hears of every epoch.
    """
    cell = job.cell
    if job.code != cell.method.code():
        message = f"other code is installed here: {cell.method.code()}; the grid has {job.code}"
        return Failure(cell.key, cell.title, "refused", message)
    try:
        return Done(cell.key, execute(job, lambda entry: hear(Epoch(cell.key, cell.title, entry))))
    except Exception as error:
        text = str(error) or type(error).__name__
        line = " ".join(text.split())
        trace = "" if isinstance(error, PrimalDualError) else traceback.format_exc()
        return Failure(cell.key, cell.title, _kind(error, text), line, trace)


def _kind(error: Exception, text: str) -> str:
    if isinstance(error, PrimalDualError):
        return "refused"
    lacking = isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text
    return "memory" if lacking else "error"
