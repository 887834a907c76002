"""A search for better settings inside the train part of a cell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np

from primaldual.data import Dataset
from primaldual.errors import ArgumentError, DataError
from primaldual.experiments.methods import Method


@dataclass(frozen=True)
class Tuning:
    """What is searched, and how long; Optuna proposes the settings.

    Args:
        space: for every argument of the classifier a list of values, or a mapping with ``low``, ``high`` and
            optionally ``log``. "attention" may list specs: ``["bn(beta=0.5)", "bn"]``.
        trials: settings to try.
        folds: stratified folds of the train part; the score of settings is their mean accuracy.

    Raises:
        ArgumentError: an empty space, a malformed range, or numbers that are too small.

    Example:
        >>> Tuning({"num_layers": [1, 2]}, trials=4, folds=2).trials
        4
    """

    space: Mapping[str, Any]
    trials: int = 20
    folds: int = 3

    def __post_init__(self) -> None:
        if not self.space:
            raise ArgumentError("tuning.space is empty; it names arguments, each with values or a range")
        for name, least in (("trials", 1), ("folds", 2)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ArgumentError(
                    f"tuning.{name} must be a whole number of at least {least}; got {value!r}"
                )
        for name, values in self.space.items():
            _check(name, values)

    def described(self) -> dict[str, Any]:
        """The search, for a cell's configuration."""
        return {"space": dict(self.space), "trials": self.trials, "folds": self.folds}


def tune(
    method: Method, tuning: Tuning, train: Dataset, seed: int, threads: int
) -> tuple[Method, dict[str, Any]]:
    """Find the settings with the highest cross-validated accuracy on the train part; the test part is never seen.

    Args:
        method: what is tuned.
        tuning: the search.
        train: train part.
        seed: of the proposals, the folds and the fits.
        threads: threads to use.

    Returns:
        The method with the best settings, and these settings.

    Raises:
        DataError: a class has fewer cases than there are folds.
    """
    import optuna

    parts = _folds(train, tuning.folds, seed)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))

    def score(trial: Any) -> float:
        candidate = method.tuned(
            {name: _suggest(trial, name, values) for name, values in tuning.space.items()}
        )
        return float(np.mean([_accuracy(candidate, *part, seed, threads) for part in parts]))

    study.optimize(score, n_trials=tuning.trials)
    chosen = dict(study.best_params)
    return method.tuned(chosen), chosen


def check_tunable(tuning: Tuning, train: Dataset) -> None:
    """Refuse a search that cannot run on a train part.

    Raises:
        ArgumentError: Optuna is not installed.
        DataError: a class has fewer cases than there are folds.
    """
    _folds(train, tuning.folds, 0)
    if find_spec("optuna") is None:
        raise ArgumentError('tuning needs Optuna: pip install "primaldual[tuning]"')


def _folds(train: Dataset, folds: int, seed: int) -> list[tuple[Dataset, Dataset]]:
    """For each fold the cases to train on and those to score by, stratified."""
    from sklearn.model_selection import StratifiedKFold

    labels = np.asarray(train.y)
    smallest = int(np.unique(labels, return_counts=True)[1].min())
    if smallest < folds:
        raise DataError(
            f"{train.name}: a class has {smallest} train cases, fewer than the {folds} folds of the search; "
            "give fewer folds or leave the set out"
        )
    splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
    return [
        (train.take(kept.tolist()), train.take(left.tolist()))
        for kept, left in splitter.split(np.zeros(len(labels)), labels)
    ]


def _accuracy(method: Method, train: Dataset, held_out: Dataset, seed: int, threads: int) -> float:
    fitted = method.fit(train, seed, threads, lambda _: None)
    predicted = np.asarray(fitted.predict(method.series(held_out, train)))
    return float(np.mean(predicted == held_out.y))


def _suggest(trial: Any, name: str, values: Any) -> Any:
    if not isinstance(values, Mapping):
        return trial.suggest_categorical(name, list(values))
    low, high, log = values["low"], values["high"], values.get("log", False)
    whole = isinstance(low, int) and isinstance(high, int)
    suggest = trial.suggest_int if whole else trial.suggest_float
    return suggest(name, low, high, log=log)


def _check(name: str, values: Any) -> None:
    if isinstance(values, Mapping):
        if not {"low", "high"} <= set(values) <= {"low", "high", "log"} or not values["low"] < values["high"]:
            raise ArgumentError(
                f"tuning.space.{name} must have low < high, and optionally log; got {dict(values)}"
            )
    elif not isinstance(values, list | tuple) or not values:
        raise ArgumentError(f"tuning.space.{name} must be a list of values or a range; got {values!r}")
