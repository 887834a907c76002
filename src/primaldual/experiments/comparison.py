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
from primaldual.experiments.store import Store, check_writable, discard
from primaldual.experiments.summary import Summary, summarise
from primaldual.models import TimeSeriesTransformer
from primaldual.training import TrainingSettings


@dataclass(frozen=True)
class Comparison:
    """An opened comparison: data read, folder proven writable, finished runs known.

    Args:
        settings: what is compared.
        train: train part.
        test: test part.
        store: results on disk.
        training: how every run is trained.
    """

    settings: Settings
    train: Dataset
    test: Dataset
    store: Store
    training: TrainingSettings

    @property
    def epochs(self) -> int:
        """Most epochs of a run."""
        return self.training.epochs

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
    training = _check_model_and_training(settings, train)
    if fresh:
        discard(folder)
    configuration = {
        "data": f"{train.name} {train.fingerprint()}+{test.fingerprint()}",
        **{name: str(value) for name, value in settings.options.items()},
    }
    return Comparison(settings, train, test, Store(folder, configuration), training)


def _check_model_and_training(settings: Settings, train: Dataset) -> TrainingSettings:
    """Refuse sizes, scales and training options before the first run, not in the middle of the grid."""
    from primaldual.estimators import AttentionClassifier

    for attention in settings.attentions:
        given = AttentionClassifier(attention, **settings.options).get_params()
        TimeSeriesTransformer(
            train.X[0].shape[0],
            train.lengths[1],
            len(train.class_names),
            **_pick(TimeSeriesTransformer, given),
        )
        training = TrainingSettings(**_pick(TrainingSettings, given))
    return training


def _pick(build: Callable[..., object], given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments among ``given`` that ``build`` takes."""
    names = inspect.signature(build).parameters
    return {name: value for name, value in given.items() if name in names}
