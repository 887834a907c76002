"""Which columns of a ``.csv`` file mean what."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from primaldual.data.cells import listed
from primaldual.data.csv_rows import Rows
from primaldual.data.reading import Reading
from primaldual.errors import DataError, did_you_mean


def meanings(rows: Rows, reading: Reading) -> dict[str, int]:
    """Place of the column of each meaning that is there: case, time, label and split.

    Names that were not given may be in capitals.

    Raises:
        DataError: a column that was named is missing, or has two meanings.
    """
    at = {}
    given = reading.columns
    for meaning in ("case", "time", "label", "split"):
        name = reading.name(meaning, rows.names)
        if name in rows.names:
            at[meaning] = rows.names.index(name)
        elif meaning in given:
            raise DataError(
                f"{rows.path}: there is no column {name!r} for {meaning}; columns: {listed(rows.names)}"
                f"{did_you_mean(name, rows.names)}"
            )
        else:
            alike = [place for place, other in enumerate(rows.names) if other.lower() == meaning]
            at.update({meaning: alike[0]} if len(alike) == 1 else {})
    if len(set(at.values())) < len(at):
        raise DataError(f"{rows.path}: case, time, label and split must be different columns")
    return at


def chosen_channels(path: Path, names: Sequence[str], reading: Reading) -> tuple[str, ...]:
    """The channels that were asked for, all without a choice.

    Raises:
        DataError: one of them is missing, or none is named.
    """
    chosen = reading.chosen_channels
    if chosen is None:
        return tuple(names)
    unknown = [name for name in chosen if name not in names]
    if unknown or not chosen:
        hint = did_you_mean(unknown[0], names) if unknown else ""
        raise DataError(
            f"{path}: there is no channel {listed(unknown) or 'named'}; accepted: {listed(names)}{hint}"
        )
    return tuple(dict.fromkeys(chosen))
