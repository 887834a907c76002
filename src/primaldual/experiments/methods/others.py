"""Classifiers that stand beside the attentions: ours in closed form, and those of aeon."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np

from primaldual.data import Dataset
from primaldual.experiments.code_version import OURS, READING, code_version
from primaldual.experiments.methods.method import Method, check_arguments, use_once

_PER_RUN = {"random_state", "n_jobs", "verbose"}
_LEAST_LENGTH = 10
"""Convolutions of aeon need ten steps."""


@dataclass(frozen=True)
class Description:
    """A classifier class and how a grid uses it.

    Args:
        module: where the class is.
        estimator: its name.
        sentence: what it is.
        fixed: arguments that its name implies.
        equal_length: pad series with zeros at the end to the longest of the train part.
        ours: whether it is of this library.
    """

    module: str
    estimator: str
    sentence: str
    fixed: Mapping[str, Any] = field(default_factory=dict)
    equal_length: bool = False
    ours: bool = False

    def kind(self) -> Any:
        """The class."""
        return getattr(import_module(self.module), self.estimator)


@dataclass(frozen=True)
class OtherMethod(Method):
    """A classifier by name, with options.

    Args:
        label: its name.
        description: what it is.
        options: arguments that differ from the defaults.

    Raises:
        ArgumentError: an option that the classifier does not have.
    """

    label: str
    description: Description
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_arguments(self.options, self._defaults(), self.label)

    @property
    def estimator(self) -> str:  # type: ignore[override] # follows from the spec
        """Name of the class."""
        return self.description.estimator

    @property
    def sentence(self) -> str:  # type: ignore[override] # follows from the spec
        """What it is."""
        return self.description.sentence

    def parameters(self) -> dict[str, Any]:
        """Every argument but the seed and what does not change results."""
        return {**self._defaults(), **self.options}

    def build(self, seed: int, threads: int) -> Any:
        """The classifier; classifiers without randomness get no seed."""
        kind = self.description.kind()
        given = {**self.description.fixed, **self.options}
        names = kind._get_param_names()
        given |= {"random_state": seed} if "random_state" in names else {}
        given |= {"n_jobs": threads} if "n_jobs" in names else {}
        return kind(**given)

    def tuned(self, changes: Mapping[str, Any]) -> OtherMethod:
        """The same classifier with other options."""
        return replace(self, options={**self.options, **changes})

    def series(self, part: Dataset, train: Dataset) -> Any:
        """Series as the classifier takes them, padded or cut to one length where it needs that."""
        if not self.description.equal_length:
            return part.X
        length = max(_LEAST_LENGTH, train.lengths[1])
        return np.stack([_padded(one, length) for one in part.X])

    def warm_up(self) -> None:
        """Compile what Numba compiles, once in a process."""
        _compile(self.description.module, self.estimator)

    def code(self) -> str:
        """The code that results depend on."""
        if self.description.ours:
            return code_version(OURS, ("torch",))
        return code_version(READING, ("aeon", "numpy"))

    def _defaults(self) -> dict[str, Any]:
        given: dict[str, Any] = self.description.kind()(**self.description.fixed).get_params()
        return {name: value for name, value in given.items() if name not in _PER_RUN}


def _padded(series: Any, length: int) -> Any:
    cut = series[:, :length]
    return np.pad(cut, ((0, 0), (0, length - cut.shape[1])))


@cache
def _compile(module: str, name: str) -> None:
    use_once(getattr(import_module(module), name)())
