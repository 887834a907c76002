"""The transformer classifier with one attention."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np

from primaldual.data import Dataset
from primaldual.experiments.code_version import module_version
from primaldual.experiments.methods.epochs import BestOnTest, EpochReport
from primaldual.experiments.methods.method import Hear, Method, check_arguments, use_once
from primaldual.models import TimeSeriesTransformer
from primaldual.primal.presets import preset, split_parts
from primaldual.primal.words import PARTS, own_module, summary
from primaldual.training import TrainingSettings

PER_RUN = {"attention", "random_state", "callbacks", "verbose", "checkpoint_dir"}
"""Arguments of the classifier that are not settings of a comparison."""

_REDUNDANCY_CASES = 32


@dataclass(frozen=True)
class AttentionMethod(Method):
    """`AttentionClassifier` with an attention and options.

    Args:
        attention: spec.
        options: arguments that differ from the defaults.
        setting: name of these options, "" for the only or default ones.

    Raises:
        ArgumentError: an option that the classifier does not have.
        SpecError: a spec that cannot be read.

    Example:
        >>> AttentionMethod("bn", {"epochs": 5}, "short").label
        'bn [short]'
    """

    attention: str
    options: Mapping[str, Any] = field(default_factory=dict)
    setting: str = ""
    estimator = "AttentionClassifier"
    by_epochs = True

    def __post_init__(self) -> None:
        preset(self.attention)
        check_arguments(self.options, self._defaults(), self.estimator)

    @property
    def label(self) -> str:  # type: ignore[override] # follows from the spec
        """The spec, and the name of the settings where they have one."""
        return f"{self.attention} [{self.setting}]" if self.setting else self.attention

    @property
    def sentence(self) -> str:  # type: ignore[override] # follows from the spec
        """What the attention is."""
        return f"A trained transformer with {'; '.join(summary(word) for word in self._words())}."

    def code(self) -> str:
        """The code that results depend on: this library's, and that of parts of somebody else's."""
        modules = dict.fromkeys(module for word in self._words() if (module := own_module(PARTS[word])))
        return ", ".join([super().code(), *map(module_version, modules)])

    @property
    def equation(self) -> str:  # type: ignore[override] # follows from the spec
        """The primal, its scales those of the heads."""
        given = self.parameters()
        return (
            preset(self.attention)
            .bind(given["num_heads"], given["embed_dim"] // given["num_heads"])
            .equation()
        )

    def parameters(self) -> dict[str, Any]:
        """Every argument but the seed and what does not change results."""
        return {"attention": self.attention, **self._defaults(), **self.options}

    def build(self, seed: int, threads: int) -> Any:
        """An AttentionClassifier."""
        from primaldual.estimators import AttentionClassifier

        del threads  # torch's number of threads is the process's
        return AttentionClassifier(self.attention, random_state=seed, **self.options)

    def tuned(self, changes: Mapping[str, Any]) -> AttentionMethod:
        """The same attention with other options; "attention" among them exchanges it."""
        rest = {name: value for name, value in changes.items() if name != "attention"}
        attention = changes.get("attention", self.attention)
        return replace(self, attention=attention, options={**self.options, **rest})

    def fit(self, train: Dataset, seed: int, threads: int, hear: Hear, chooser: Dataset | None = None) -> Any:
        """Train, and report every epoch."""
        classifier = self.build(seed, threads)
        if chooser is None:
            return classifier.set_params(callbacks=[EpochReport(hear)]).fit(train.X, train.y)
        best = BestOnTest(classifier, chooser)
        classifier.set_params(validation_fraction=0.0, callbacks=[best, EpochReport(hear)])
        best.put_back(classifier.fit(train.X, train.y))
        return classifier

    def check(self, train: Dataset) -> None:
        """Build the network once and read the training settings: sizes, scales and options that do not fit."""
        given = self.parameters()
        sizes = (train.X[0].shape[0], train.lengths[1], len(train.class_names))
        TimeSeriesTransformer(*sizes, **_pick(TimeSeriesTransformer, given))
        TrainingSettings(**_pick(TrainingSettings, given))

    def warm_up(self) -> None:
        """Import and train once in a process: libraries load and choose their kernels at the first step."""
        _train_once()

    def measures(self, fitted: Any, test: Dataset) -> dict[str, float]:
        """Operations of one series, parameters, and how differently the heads attend."""
        from primaldual.analysis import capture_attention, head_distances, model_flops
        from primaldual.integrations.attention_hooks import evaluating

        model = fitted.model_
        with evaluating(model), capture_attention(model) as maps:
            model(*fitted.prepare(test.X[:_REDUNDANCY_CASES]))
        found = {
            "operations": float(model_flops(model, model.length).total),
            "parameters": float(sum(parameter.numel() for parameter in model.parameters())),
        }
        distance = float(np.mean([head_distances(layer) for layer in maps]))
        return found if np.isnan(distance) else {**found, "head_distance": distance}

    def _words(self) -> list[str]:
        """The words of the spec that name parts."""
        parts = [word for part in split_parts(self.attention, "+") for word in split_parts(part, "|")]
        words = [part.strip().strip("()").partition("(")[0].strip() for part in parts]
        return [word for word in words if word in PARTS]

    @staticmethod
    def _defaults() -> dict[str, Any]:
        from primaldual.estimators import AttentionClassifier

        given: dict[str, Any] = AttentionClassifier().get_params()
        return {name: value for name, value in given.items() if name not in PER_RUN}


@cache
def _train_once() -> None:
    from primaldual.estimators import AttentionClassifier

    tiny = AttentionClassifier(
        epochs=1, embed_dim=8, num_heads=2, num_layers=1, feedforward_dim=8, random_state=0
    )
    use_once(tiny)


def _pick(build: Callable[..., object], given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments among ``given`` that ``build`` takes."""
    names = inspect.signature(build).parameters
    return {name: value for name, value in given.items() if name in names}
