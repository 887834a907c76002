"""What the reader of a file is told besides its path."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Reading:
    """Which columns of a ``.csv`` file mean what, and whether labels are read.

    Args:
        case: the column that names the series a row belongs to; None = "case".
        time: the column that orders the rows of a series; None = "time".
        label: the column of the class; None = "label".
        channels: the columns that are channels; None = all that have no other meaning.
        labelled: False where labels are not used: then they may be missing or unknown.

    Example:
        >>> Reading(case="patient", channels=("pulse", "temp")).columns
        {'case': 'patient', 'channels': 'pulse,temp'}
    """

    case: str | None = None
    time: str | None = None
    label: str | None = None
    channels: tuple[str, ...] | None = None
    labelled: bool = True

    @property
    def columns(self) -> dict[str, str]:
        """The columns that were named, by their meaning."""
        given = {
            "case": self.case,
            "time": self.time,
            "label": self.label,
            "channels": None if self.channels is None else ",".join(self.channels),
        }
        return {meaning: name for meaning, name in given.items() if name is not None}


PLAIN = Reading()
"""Columns by their usual names, labels read."""
