"""A comparison from settings to report: a grid of one data set, attentions and seeds."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from primaldual.data import Dataset
from primaldual.errors import ArgumentError, DataError
from primaldual.experiments.cell import Cell
from primaldual.experiments.profile import profiles
from primaldual.experiments.running import Event, pair_fingerprint, place_for, run_cells
from primaldual.experiments.settings import Settings
from primaldual.experiments.store import FILE_NAME, Failure, Result, Store, discard
from primaldual.experiments.summary import Summary, summarise
from primaldual.reporting.files import check_folder


@dataclass(frozen=True)
class Comparison:
    """An opened comparison: data read, folder proven writable, finished runs known.

    Args:
        settings: what is compared.
        train: train part.
        test: test part.
        store: results on disk.
        cells: all runs, seed by seed, so that an interrupted comparison has whole rows to show.
    """

    settings: Settings
    train: Dataset
    test: Dataset
    store: Store
    cells: tuple[Cell, ...]

    @property
    def parameters(self) -> dict[str, Any]:
        """Every argument of the classifier that all runs share."""
        return _shared(self.cells[0].config)

    @property
    def models(self) -> Path:
        """Folder of the trained models."""
        return self.store.folder / "models"

    @property
    def finished(self) -> list[Result]:
        """Runs on disk, in order."""
        return self.store.results(self.cells)

    @property
    def missing(self) -> list[Cell]:
        """Runs still to do, in order."""
        done = {result.key for result in self.finished}
        return [cell for cell in self.cells if cell.key not in done]

    def execute(self, jobs: int, on_event: Callable[[Event], None]) -> None:
        """Do the missing runs, failed ones again; each result is on disk before ``on_event`` hears of it.

        Args:
            jobs: processes at a time.
            on_event: hears every start, epoch, result and failure.

        Raises:
            ArgumentError: runs refused their settings or data; the others are done.
            RuntimeError: a run failed in an unforeseen way; the others are done.
        """
        missing = self.missing
        self.store.retry(missing)
        place = place_for(min(jobs, max(1, len(missing))))
        run_cells(missing, self.store, place, lambda _: (self.train, self.test), on_event, self.models)
        failures = self.store.failures(missing)
        if failures:
            _raise(failures[0])

    def summaries(self, on_step: Callable[[str], None] = lambda _: None) -> list[Summary]:
        """Everything about the finished comparison, models measured.

        Raises:
            DataError: runs are missing.
        """
        if self.missing:
            raise DataError(f"{len(self.missing)} of {len(self.cells)} runs are not finished")
        folders = {
            attention: [self.models / cell.folder for cell in self.cells if cell.method.label == attention]
            for attention in self.settings.attentions
        }
        text = "\n".join(cell.key for cell in self.cells)
        measured = profiles(
            folders, self.test, self.store, hashlib.sha256(text.encode()).hexdigest(), on_step
        )
        return summarise(self.settings.attentions, self.finished, measured)


def open_comparison(settings: Settings, folder: Path, fresh: bool = False) -> Comparison:
    """Prove that the folder is writable, read the data, open or create the results.

    Args:
        settings: what to compare.
        folder: output folder.
        fresh: forget earlier results in the folder.

    Raises:
        ArgumentError: the folder is not writable, or holds runs of other settings.
        DataError: the data or the results cannot be read.
    """
    check_folder(folder, "an earlier comparison or grid", FILE_NAME)
    train, test = settings.load()
    methods = settings.methods
    for method in methods:
        method.check(train)
    if fresh:
        discard(folder)
    fingerprint = pair_fingerprint(train, test)
    cells = tuple(
        Cell(train.name, fingerprint, method, seed) for seed in settings.seeds for method in methods
    )
    store = Store(folder)
    _refuse_others(store, cells[0].config)
    return Comparison(settings, train, test, store, cells)


def _shared(config: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments in a configuration that do not differ between the runs of a comparison."""
    return {name: value for name, value in config["parameters"].items() if name != "attention"}


def _refuse_others(store: Store, wanted: Mapping[str, Any]) -> None:
    """Models and the report have one place in a folder, so it holds runs of one data set and one configuration."""
    for found in store.configurations():
        there, now = _compared(found), _compared(wanted)
        changed = [
            f"{name} {there.get(name, 'default')} there, {now.get(name, 'default')} now"
            for name in sorted({*there, *now})
            if there.get(name) != now.get(name)
        ]
        if changed:
            raise ArgumentError(
                f"out {store.folder} holds runs with other settings ({'; '.join(changed)}); "
                "choose another folder, or start afresh there with --fresh"
            )


def _compared(config: Mapping[str, Any]) -> dict[str, str]:
    found = {"data": f"{config['data']} {config['fingerprint']}", "code": config["code"], **_shared(config)}
    return {name: str(value) for name, value in found.items()}


def _raise(failure: Failure) -> None:
    if failure.kind == "refused":
        raise ArgumentError(failure.message)
    raise RuntimeError(f"run {failure.title} failed: {failure.message}\n{failure.traceback}")
