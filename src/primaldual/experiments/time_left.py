"""How long a grid will still take."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from primaldual.experiments.cell import Cell
from primaldual.experiments.store import Failure, Result


class TimeLeft:
    """Estimates the time of the missing cells by cells that are done: same data and method, same method, or any.

    Args:
        cells: all cells of the grid.
        results: the finished ones.
        slots: cells at a time.
    """

    def __init__(self, cells: Sequence[Cell], results: Sequence[Result], slots: int) -> None:
        self._missing = {cell.key: cell for cell in cells}
        self._slots = slots
        self._known: dict[tuple[str, ...], list[float]] = {}
        for result in results:
            self.hear(result)

    def hear(self, ended: Result | Failure) -> None:
        """Take a cell that has ended off the list."""
        self._missing.pop(ended.key, None)
        if isinstance(ended, Result):
            seconds = ended.seconds + (ended.predict_seconds or 0.0)
            for key in ((ended.data, ended.method), (ended.method,), ()):
                self._known.setdefault(key, []).append(seconds)

    def seconds(self) -> float | None:
        """Seconds that are left; None before anything is known."""
        if not self._known:
            return None
        return sum(map(self._expected, self._missing.values())) / self._slots

    def _expected(self, cell: Cell) -> float:
        for key in ((cell.data, cell.method.label), (cell.method.label,)):
            if key in self._known:
                return float(np.mean(self._known[key]))
        return float(np.mean(self._known[()]))
