"""A comparison from settings to report."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from primaldual.data import Dataset
from primaldual.errors import DataError
from primaldual.experiments.grid import Event, Work, run_grid
from primaldual.experiments.profile import profiles
from primaldual.experiments.results import Result
from primaldual.experiments.settings import ClassifierFactory, Run, Settings, attention_classifier
from primaldual.experiments.store import Store, discard
from primaldual.experiments.summary import Summary, summarise
from primaldual.models import TimeSeriesTransformer
from primaldual.reporting.files import check_writable
from primaldual.training import TrainingSettings

_PER_RUN = {"attention", "random_state", "callbacks", "verbose", "checkpoint_dir"}


@dataclass(frozen=True)
class Comparison:
    """An opened comparison: data read, folder proven writable, finished runs known.

    Args:
        settings: what is compared.
        train: train part.
        test: test part.
        store: results on disk.
        parameters: every argument of the classifier that all runs share.
    """

    settings: Settings
    train: Dataset
    test: Dataset
    store: Store
    parameters: Mapping[str, Any]

    @property
    def epochs(self) -> int:
        """Most epochs of a run."""
        return int(self.parameters["epochs"])

    @property
    def finished(self) -> dict[Run, Result]:
        """Runs on disk."""
        return self.store.results(self.settings.runs)

    @property
    def missing(self) -> list[Run]:
        """Runs still to do, in order."""
        done = self.finished
        return [run for run in self.settings.runs if run not in done]

    def execute(
        self,
        jobs: int,
        on_event: Callable[[Event], None],
        factory: ClassifierFactory = attention_classifier,
    ) -> None:
        """Do the missing runs; each result is on disk before ``on_event`` hears of it.

        Args:
            jobs: processes at a time.
            on_event: hears every epoch and every result.
            factory: makes the classifiers.
        """

        def keep(event: Event) -> None:
            if isinstance(event, Result):
                self.store.save(event)
            on_event(event)

        models = self.store.folder / "models"
        work = Work(self.train, self.test, self.settings.options, factory, models)
        run_grid(self.missing, work, jobs, keep)

    def summaries(self, on_step: Callable[[str], None] = lambda _: None) -> list[Summary]:
        """Everything about the finished comparison, models measured.

        Raises:
            DataError: runs are missing.
        """
        if self.missing:
            raise DataError(f"{len(self.missing)} of {len(self.settings.runs)} runs are not finished")
        measured = profiles(self.settings.attentions, self.settings.seeds, self.test, self.store, on_step)
        return summarise(self.settings, self.finished, measured)


def open_comparison(settings: Settings, folder: Path, fresh: bool = False) -> Comparison:
    """Prove that the folder is writable, read the data, open or create the results.

    Args:
        settings: what to compare.
        folder: output folder.
        fresh: forget earlier results in the folder.

    Raises:
        ArgumentError: the folder is not writable, or holds runs of other settings.
        DataError: the data cannot be read.
    """
    check_writable(folder)
    train, test = settings.load()
    parameters = _checked_parameters(settings, train)
    if fresh:
        discard(folder)
    configuration = {
        "data": f"{train.name} {train.fingerprint()}+{test.fingerprint()}",
        **{name: str(value) for name, value in parameters.items()},
    }
    return Comparison(settings, train, test, Store(folder, configuration), parameters)


def _checked_parameters(settings: Settings, train: Dataset) -> dict[str, Any]:
    """All shared arguments, defaults too; sizes, scales and options that do not fit are refused here."""
    from primaldual.estimators import AttentionClassifier

    parameters: dict[str, Any] = AttentionClassifier(**settings.options).get_params()
    sizes = (train.X[0].shape[0], train.lengths[1], len(train.class_names))
    for attention in settings.attentions:
        given = {**parameters, "attention": attention}
        TimeSeriesTransformer(*sizes, **_pick(TimeSeriesTransformer, given))
    TrainingSettings(**_pick(TrainingSettings, parameters))
    return {name: value for name, value in parameters.items() if name not in _PER_RUN}


def _pick(build: Callable[..., object], given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments among ``given`` that ``build`` takes."""
    names = inspect.signature(build).parameters
    return {name: value for name, value in given.items() if name in names}
