"""Run tasks cell by cell, and keep every cell in a store as soon as it is finished."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.when_it_helps.tasks.task import Pair, Task
from primaldual.experiments.cell import Cell
from primaldual.experiments.places import Here
from primaldual.experiments.running import Event, pair_fingerprint, run_cells
from primaldual.experiments.store import Store


class Cells:
    """The cells of a task, and their data.

    Args:
        task: what is learned.
        seeds: of the cells.
        attentions: specs.
    """

    def __init__(self, task: Task, seeds: Sequence[int], attentions: Sequence[str]) -> None:
        self._task = task
        self._last: tuple[int, Pair] | None = None
        self.cells = [
            Cell(task.name, self._fingerprint(seed), task.method(attention), seed)
            for seed in seeds
            for attention in attentions
        ]

    def read(self, seed: int) -> Pair:
        """Train and test part; the ones read last are kept."""
        if self._last is None or self._last[0] != seed:
            self._last = seed, self._task.load(seed)
        return self._last[1]

    def __call__(self, cell: Cell) -> Pair:
        """The data of a cell."""
        return self.read(cell.seed)

    def _fingerprint(self, seed: int) -> str:
        return pair_fingerprint(*self.read(seed))


def run_task(cells: Cells, folder: Path, on_event: Callable[[Event], None]) -> None:
    """Do the cells that the store of a folder lacks, one after the other, on one thread."""
    run_cells(cells.cells, Store(folder), Here(), cells, on_event)
