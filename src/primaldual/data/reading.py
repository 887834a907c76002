"""What the reader of a file is told besides its path."""

from __future__ import annotations

from collections.abc import Sequence
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
        former: how a file was read before; its names hold for what is not named here, where the file has them.

    Example:
        >>> Reading(case="patient", channels=("pulse", "temp")).columns
        {'case': 'patient', 'channels': 'pulse,temp'}
    """

    case: str | None = None
    time: str | None = None
    label: str | None = None
    channels: tuple[str, ...] | None = None
    labelled: bool = True
    former: Reading | None = None

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

    def name(self, meaning: str, names: Sequence[str]) -> str:
        """The name that the column of a meaning has in a file.

        Args:
            meaning: case, time, label or split.
            names: of all columns of the file.

        Example:
            >>> new = Reading(former=Reading(case="patient", time="day"))
            >>> new.name("case", ["patient", "time", "pulse"]), new.name("time", ["patient", "time", "pulse"])
            ('patient', 'time')
        """
        former = {} if self.former is None else self.former.columns
        usual = former.get(meaning, meaning)
        return self.columns.get(meaning, usual if usual in names else meaning)

    @property
    def named(self) -> frozenset[str]:
        """Every column that was named, here or before."""
        own = {*self.columns.values(), *(self.channels or ())}
        return frozenset(own if self.former is None else own | self.former.named)

    @property
    def chosen_channels(self) -> tuple[str, ...] | None:
        """The channels that were named, here or else before; None = all columns without another meaning."""
        if self.channels is None and self.former is not None:
            return self.former.channels
        return self.channels


PLAIN = Reading()
"""Columns by their usual names, labels read."""
