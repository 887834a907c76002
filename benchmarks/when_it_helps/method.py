"""The transformer of a task with one attention, as a method of the library's grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.when_it_helps.recipe import Recipe
from benchmarks.when_it_helps.training import train_model
from benchmarks.when_it_helps.transformer import Transformer
from primaldual.analysis import head_report
from primaldual.data import Dataset
from primaldual.experiments.code_version import OURS, code_version
from primaldual.experiments.methods import Hear, Method
from primaldual.training.randomness import private_torch_randomness

_SOURCES = tuple(str(Path(__file__).parent / name) for name in ("method.py", "training.py", "transformer.py"))
_AT_ONCE, _LOOKED_AT = 250, 64


class Fitted:
    """A trained transformer with its classes.

    Args:
        model: trained.
        classes: their names in the order of the logits.
        history: records of the epochs.
    """

    def __init__(self, model: Transformer, classes: np.ndarray, history: list[dict[str, Any]]) -> None:
        self.model, self.classes, self.history_ = model, classes, history
        self.train_accuracy = float("nan")

    def predict(self, series: Any) -> np.ndarray:
        """Names of the classes of (cases, channels, length)."""
        with torch.no_grad():
            parts = [self.model(part).argmax(1) for part in as_tokens(series).split(_AT_ONCE)]
        found: np.ndarray = self.classes[torch.cat(parts).numpy()]
        return found


@dataclass(frozen=True)
class TransformerMethod(Method):
    """A `Transformer` with an attention, trained by a recipe; the weights of the last epoch are tested.

    Args:
        attention: spec; the method's label.
        recipe: of the task.
    """

    attention: str
    recipe: Recipe
    estimator = "Transformer of benchmarks.when_it_helps"
    sentence = "A small transformer, trained for a fixed number of epochs."

    @property
    def label(self) -> str:  # type: ignore[override]
        """The spec."""
        return self.attention

    def parameters(self) -> dict[str, Any]:
        """Attention and recipe."""
        return {"attention": self.attention, "epoch tested": "the last", **asdict(self.recipe)}

    def build(self, seed: int, threads: int) -> Any:
        """Unsupported: the sizes come with the data."""
        raise NotImplementedError

    def tuned(self, changes: Mapping[str, Any]) -> TransformerMethod:
        """The same attention with another recipe."""
        return replace(self, recipe=replace(self.recipe, **changes))

    def fit(
        self, train: Dataset, seed: int, threads: int, hear: Hear, chooser: Dataset | None = None
    ) -> Fitted:
        """Train for all epochs."""
        del threads, chooser
        tokens = as_tokens(train.X)
        classes, labels = np.unique(np.asarray(train.y), return_inverse=True)
        with private_torch_randomness(seed):
            sizes = tokens.shape[2], tokens.shape[1], len(classes)
            model = Transformer(*sizes, self.recipe, self.attention)
            history = train_model(model, tokens, torch.from_numpy(labels), self.recipe, hear)
        fitted = Fitted(model, classes, history)
        seen = train.X[:1000]
        fitted.train_accuracy = float((fitted.predict(seen) == np.asarray(train.y)[:1000]).mean())
        return fitted

    def measures(self, fitted: Fitted, test: Dataset) -> dict[str, float]:
        """Operations, parameters, training accuracy, entropy, and how differently the heads attend."""
        layers = head_report(fitted.model, as_tokens(test.X[:_LOOKED_AT]), ablate=False).layers
        pairs = torch.triu_indices(self.recipe.heads, self.recipe.heads, offset=1)
        alike = torch.stack([layer.likeness[pairs[0], pairs[1]].mean() for layer in layers])
        return {
            "operations": float(fitted.model.operations()),
            "parameters": float(sum(parameter.numel() for parameter in fitted.model.parameters())),
            "train_accuracy": fitted.train_accuracy,
            "entropy_at_start": fitted.history_[0]["entropy"],
            "entropy": float(torch.stack([layer.entropy for layer in layers]).mean()),
            "head_distance": float(np.mean([layer.redundancy for layer in layers])),
            "head_likeness": float(alike.mean()),
        }

    def code(self) -> str:
        """The library's code, and the model, loop and measures here."""
        return code_version((*OURS, *_SOURCES), ("torch",))


def as_tokens(series: Any) -> Tensor:
    """(cases, channels, length) as (cases, length, channels) in float32."""
    return torch.from_numpy(np.ascontiguousarray(np.asarray(series, dtype=np.float32).transpose(0, 2, 1)))
