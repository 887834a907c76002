"""A classifier that learns nothing and is quick, to test what surrounds classifiers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from primaldual.data.dataset import Dataset
from primaldual.errors import ArgumentError


class FakeClassifier:
    def __init__(self, run, options, on_epoch):
        self.run, self.options, self.on_epoch = run, options, on_epoch

    def fit(self, X, y):
        if self.options.get("refuse") == self.run.attention:
            raise ArgumentError("heads is 3; something else is accepted")
        if self.options.get("break") == self.run.attention:
            raise ZeroDivisionError("unforeseen")
        self.classes_ = np.unique(y)
        self.history_ = [
            {
                "epoch": epoch + 1,
                "train_loss": np.float64(1 / (epoch + 1)),
                "validation_loss": None,
                "seconds": 0.1,
            }
            for epoch in range(3)
        ]
        self.best_epoch_ = 2
        for entry in self.history_:
            self.on_epoch(entry)
        return self

    def predict(self, X):
        generator = np.random.default_rng([self.run.seed, *self.run.attention.encode()])
        return generator.choice(self.classes_, len(X))

    def save(self, path):
        Path(path).mkdir()
        (Path(path) / "config.json").write_text(json.dumps({"seed": self.run.seed}))


def dataset(cases=12, name="toy"):
    generator = np.random.default_rng(0)
    return Dataset(name, generator.normal(size=(cases, 2, 7)), np.array(["a", "b"] * (cases // 2)), "made up")
