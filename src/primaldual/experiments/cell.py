"""One cell of a grid: a data set, a method, a seed, and the rules."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from primaldual.experiments.methods import Method
from primaldual.experiments.protocol import EvaluationProtocol
from primaldual.experiments.tuning import Tuning

_WORDS = {"sentence", "equation"}
"""Parts of a configuration that say in words what others say."""


@dataclass(frozen=True)
class Cell:
    """One run, known by a hash of everything that its result depends on.

    Args:
        data: name of the data set.
        fingerprint: hash of its train and test part.
        method: what is trained.
        seed: of everything random.
        threads: threads that it uses; sums of floating-point numbers depend on them.
        rules: "honest" or "paper", as in `EvaluationProtocol`.
        tuning: a search for better settings inside the train part; None for none.

    Example:
        >>> from primaldual.experiments.methods import AttentionMethod
        >>> cell = Cell("toy", "12ab", AttentionMethod("bn"), 0)
        >>> cell.title, cell.key == Cell("toy", "12ab", AttentionMethod("bn"), 1).key
        ('toy, bn, seed 0', False)
    """

    data: str
    fingerprint: str
    method: Method
    seed: int
    threads: int = 1
    rules: str = "honest"
    tuning: Tuning | None = field(default=None)

    @property
    def title(self) -> str:
        """What messages call it."""
        return f"{self.data}, {self.method.label}, seed {self.seed}"

    @property
    def folder(self) -> str:
        """Name of the folder that its model is saved in."""
        return f"{self.method.label}-seed{self.seed}"

    @property
    def protocol(self) -> EvaluationProtocol:
        """The rules."""
        if self.tuning is None:
            return EvaluationProtocol(self.rules)
        return EvaluationProtocol(self.rules, self.tuning.trials, self.tuning.folds)

    @cached_property
    def config(self) -> dict[str, Any]:
        """Everything that the result depends on, as JSON values."""
        return {
            "data": self.data,
            "fingerprint": self.fingerprint,
            "method": self.method.label,
            "estimator": self.method.estimator,
            "sentence": self.method.sentence,
            "equation": self.method.equation,
            "parameters": _plain(self.method.parameters()),
            "seed": self.seed,
            "threads": self.threads,
            "protocol": self.protocol.described(),
            "tuning": None if self.tuning is None else _plain(self.tuning.described()),
            "code": self.method.code(),
        }

    @cached_property
    def key(self) -> str:
        """Hash of the configuration."""
        config = {name: value for name, value in self.config.items() if name not in _WORDS}
        return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:32]


def _plain(values: dict[str, Any]) -> Any:
    """The same as JSON knows it; what JSON lacks becomes text."""
    return json.loads(json.dumps(values, default=str))
