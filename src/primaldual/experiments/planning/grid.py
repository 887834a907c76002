"""A grid: data sets, methods, seeds, and the rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from primaldual.data.reading import PLAIN, Reading
from primaldual.errors import ArgumentError, did_you_mean
from primaldual.experiments.methods import AttentionMethod, Method, method_named
from primaldual.experiments.methods.names import BASELINES
from primaldual.experiments.places import NO_LIMITS, Limits
from primaldual.experiments.protocol import EvaluationProtocol
from primaldual.experiments.settings import DEFAULT_ATTENTIONS
from primaldual.experiments.tuning import Tuning

DEFAULT = "default"
"""Name of settings that labels leave out."""


@dataclass(frozen=True)
class Grid:
    """Data sets x (attentions x settings, and other methods) x seeds.

    Args:
        data: names of aeon's archive, or paths to ``.ts``, ``.npz`` or ``.csv`` files.
        attentions: specs; each makes an `AttentionClassifier`.
        methods: classifiers beside them, keys of ``experiments.methods.OTHERS``.
        seeds: one run of every method on every data set for each.
        settings: arguments of `AttentionClassifier`, by a name of your choice; "default" does not show in labels.
        options: arguments of the other methods, by their names.
        data_dir: folder that holds ``<name>/<name>_TRAIN.ts``.
        protocol: "honest" or "paper", as in `EvaluationProtocol`.
        threads: threads of each run.
        baseline: label of the method that the others are compared with; the first one by default.
        limits: of one run.
        tuning: a search inside the train part of every run of an attention.
        reading: the columns of ``.csv`` files.

    Raises:
        ArgumentError: something is empty, given twice, unknown, or out of range.
        SpecError: a spec that cannot be read.

    Example:
        >>> grid = Grid(("BasicMotions",), ("softmax", "bn"), methods=("QUANT",), seeds=(0, 1))
        >>> [method.label for method in grid.competitors()]
        ['softmax', 'bn', 'QUANT']
    """

    data: tuple[str, ...]
    attentions: tuple[str, ...] = DEFAULT_ATTENTIONS
    methods: tuple[str, ...] = BASELINES
    seeds: tuple[int, ...] = (0, 1, 2)
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: {DEFAULT: {}})
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    data_dir: str | None = None
    protocol: str = "honest"
    threads: int = 1
    baseline: str | None = None
    limits: Limits = NO_LIMITS
    tuning: Tuning | None = None
    reading: Reading = PLAIN

    def __post_init__(self) -> None:
        for name in ("data", "seeds", "settings"):
            if not getattr(self, name):
                raise ArgumentError(f"{name} is empty; at least one is needed")
        for name in ("data", "attentions", "methods", "seeds"):
            values = getattr(self, name)
            if len(set(values)) != len(values):
                raise ArgumentError(f"{name} must differ from each other; got {', '.join(map(str, values))}")
        if not self.attentions and not self.methods:
            raise ArgumentError("attentions and methods are both empty; at least one is needed")
        if self.threads < 1:
            raise ArgumentError(f"threads must be at least 1; got {self.threads}")
        for name in self.options:
            if name not in self.methods:
                hint = did_you_mean(name, self.methods)
                raise ArgumentError(f"options.{name} is for no method of this grid{hint}")
        EvaluationProtocol(self.protocol)
        labels = [method.label for method in self.competitors()]
        if self.baseline is not None and self.baseline not in labels:
            hint = did_you_mean(self.baseline, labels)
            raise ArgumentError(f"baseline is {self.baseline!r}{hint}; accepted: {', '.join(labels)}")

    def competitors(self) -> list[Method]:
        """All methods, the baseline of the differences first."""
        found: list[Method] = [
            AttentionMethod(attention, options, "" if name == DEFAULT else name)
            for name, options in self.settings.items()
            for attention in self.attentions
        ]
        found += [method_named(name, self.options.get(name)) for name in self.methods]
        return sorted(found, key=lambda method: method.label != self.baseline) if self.baseline else found
