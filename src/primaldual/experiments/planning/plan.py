"""From a grid to its cells: data read, arguments checked, results opened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from primaldual.data import Dataset, load_pair
from primaldual.errors import DataError, PrimalDualError
from primaldual.experiments.cell import Cell
from primaldual.experiments.methods import AttentionMethod, Method
from primaldual.experiments.places import Place
from primaldual.experiments.planning.grid import Grid
from primaldual.experiments.running import Event, pair_fingerprint, run_cells
from primaldual.experiments.store import FILE_NAME, Failure, Result, Store
from primaldual.experiments.tuning import Tuning, check_tunable
from primaldual.reporting.files import check_folder

Pair = tuple[Dataset, Dataset]


class Sources:
    """Reads data sets, and keeps the one read last.

    Args:
        grid: what is read, and where.
    """

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._names: dict[str, str] = {}
        self._last: tuple[str, Pair] | None = None

    def read(self, source: str) -> Pair:
        """Train and test part of a source of the grid."""
        if self._last is None or self._last[0] != source:
            reading = self._grid.reading
            self._last = None  # before the next one takes its memory
            self._last = source, load_pair(source, self._grid.data_dir, reading)
            self._names[self._last[1][0].name] = source
        return self._last[1]

    def __call__(self, cell: Cell) -> Pair:
        """The data of a cell."""
        return self.read(self._names[cell.data])


@dataclass(frozen=True)
class OpenGrid:
    """A grid whose data and results are open.

    Args:
        grid: what is run.
        cells: all of its cells, data set by data set and seed by seed.
        store: results on disk.
        sources: reads the data.
        sizes: of every data set, in words.
    """

    grid: Grid
    cells: tuple[Cell, ...]
    store: Store
    sources: Sources
    sizes: dict[str, str]

    @property
    def finished(self) -> list[Result]:
        """Cells on disk, in order."""
        return self.store.results(self.cells)

    @property
    def failed(self) -> list[Failure]:
        """Cells that failed, in order."""
        return self.store.failures(self.cells)

    @property
    def missing(self) -> list[Cell]:
        """Cells that neither finished nor failed."""
        ended = {result.key for result in self.finished} | {failure.key for failure in self.failed}
        return [cell for cell in self.cells if cell.key not in ended]

    def execute(self, place: Place, on_event: Callable[[Event], None]) -> None:
        """Do the missing cells; the arguments are those of `run_cells`."""
        run_cells(self.cells, self.store, place, self.sources, on_event)


def open_grid(grid: Grid, folder: Path, retry_failed: bool = False) -> OpenGrid:
    """Read all data, check all arguments against them, open or create the results.

    Args:
        grid: what to run.
        folder: output folder.
        retry_failed: forget earlier failures, so that these cells run again.

    Raises:
        ArgumentError: the folder is not writable, or arguments do not fit the data.
        DataError: data sets are missing or malformed, all of them named; or the results cannot be read.
    """
    check_folder(folder, "an earlier grid or comparison", FILE_NAME)
    sources = Sources(grid)
    cells: list[Cell] = []
    sizes: dict[str, str] = {}
    trouble: list[str] = []
    for source in grid.data:
        try:
            train, test = sources.read(source)
        except DataError as error:
            trouble.append(str(error))
            continue
        if train.name in sizes:
            raise DataError(f"data {source} has the name of another one, {train.name}; rename the file")
        sizes[train.name] = f"train {train.summary}; test {test.summary}"
        cells += _cells(grid, train, pair_fingerprint(train, test))
    if trouble:
        count = f"{len(trouble)} of {len(grid.data)} data sets cannot be used: " if len(grid.data) > 1 else ""
        raise DataError(count + "; ".join(trouble))
    store = Store(folder)
    if retry_failed:
        store.retry(cells)
    return OpenGrid(grid, tuple(cells), store, sources, sizes)


def _cells(grid: Grid, train: Dataset, fingerprint: str) -> list[Cell]:
    methods = grid.competitors()
    for method in methods:
        try:
            method.check(train)
            if tuning := _tuning(grid, method):
                check_tunable(tuning, train)
        except PrimalDualError as error:
            raise type(error)(f"{train.name}, {method.label}: {error}") from error
    return [
        Cell(train.name, fingerprint, method, seed, grid.threads, grid.protocol, _tuning(grid, method))
        for seed in grid.seeds
        for method in methods
    ]


def _tuning(grid: Grid, method: Method) -> Tuning | None:
    return grid.tuning if isinstance(method, AttentionMethod) else None
