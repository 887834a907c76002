"""Run the cells of a grid: claim, submit, commit, until none is left."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from primaldual.data import Dataset
from primaldual.errors import DataError
from primaldual.experiments.cell import Cell
from primaldual.experiments.execution import Job
from primaldual.experiments.places import NO_LIMITS, Done, Epoch, Here, Limits, Place, Workers
from primaldual.experiments.store import Failure, Result, Store

_POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Started:
    """A cell begins."""

    cell: Cell


@dataclass(frozen=True)
class Waiting:
    """Nothing is left to claim, but other processes are still at some cells."""

    cells: int


Event = Started | Waiting | Epoch | Result | Failure
Load = Callable[[Cell], tuple[Dataset, Dataset]]


def run_cells(
    cells: Sequence[Cell],
    store: Store,
    place: Place,
    load: Load,
    on_event: Callable[[Event], None],
    models: Path | None = None,
) -> None:
    """Do every cell that is neither finished nor failed, and commit each outcome as it comes.

    Several processes may run the same cells on the same store: each cell is done once. At the end this one waits for
    the cells that others are at, and takes over those whose process dies. A failure does not stop the rest.

    Args:
        cells: in this order.
        store: takes the outcomes; its claims are given back at the end.
        place: where the cells run; closed at the end.
        load: train and test part of a cell.
        on_event: hears of starts, waiting, epochs, results and failures; an outcome is on disk before.
        models: folder to save models in; None for none.
    """
    working: dict[str, Cell] = {}
    told = False
    try:
        while True:
            while len(working) < place.slots and (cell := store.claim(cells)) is not None:
                working[cell.key] = cell
                on_event(Started(cell))
                place.submit(Job(cell, *_checked(cell, load), models, cell.method.code()))
            if not working:
                others = store.claimed(cells)
                if not others:
                    return
                if not told:
                    on_event(Waiting(others))
                    told = True
                time.sleep(_POLL_SECONDS)
                continue
            for ending in place.wait(on_event):
                cell = working.pop(ending.key)
                if isinstance(ending, Done):
                    on_event(store.finish(cell, ending.outcome))
                else:
                    store.fail(cell, ending)
                    on_event(ending)
    finally:
        try:
            place.close()
        finally:
            store.close()


def place_for(jobs: int, threads: int = 1, limits: Limits = NO_LIMITS) -> Place:
    """The calling process for one cell at a time without limits, worker processes otherwise.

    Args:
        jobs: cells at a time.
        threads: threads of each.
        limits: of a cell.
    """
    return Here() if jobs == 1 and not limits.any else Workers(jobs, threads, limits)


def _checked(cell: Cell, load: Load) -> tuple[Dataset, Dataset]:
    train, test = load(cell)
    found = pair_fingerprint(train, test)
    if found != cell.fingerprint:
        raise DataError(f"data {cell.data} has changed since the grid was opened; give the command again")
    return train, test


def pair_fingerprint(train: Dataset, test: Dataset) -> str:
    """Hash of a train and a test part."""
    return f"{train.fingerprint()}+{test.fingerprint()}"
