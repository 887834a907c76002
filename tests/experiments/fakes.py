"""A classifier that learns nothing and is quick, to test what surrounds classifiers."""

from __future__ import annotations

import json
import os
import signal
import threading
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from primaldual.data.dataset import Dataset
from primaldual.errors import ArgumentError
from primaldual.experiments import Settings
from primaldual.experiments.cell import Cell
from primaldual.experiments.methods import Method
from primaldual.experiments.running import pair_fingerprint


@dataclass(frozen=True)
class FakeMethod(Method):
    """Behaves as its options say: refuse, break, hang, die, die once (options name a folder to leave traces in)."""

    label: str
    options: dict = field(default_factory=dict)
    estimator = "Fake"
    sentence = "It guesses."
    by_epochs = True

    def parameters(self):
        return {"attention": self.label, "epochs": 3, **self.options}

    def tuned(self, changes):
        return FakeMethod(self.label, {**self.options, **changes})

    def build(self, seed, threads):
        return FakeClassifier(self.label, seed, self.options)

    def fit(self, train, seed, threads, hear, chooser=None):
        return self.build(seed, threads).fit(train.X, train.y, hear)

    def check(self, train):
        if self.options.get("heads") == 7:
            raise ArgumentError("heads is 7; something else is accepted")

    def code(self):
        return "fake 1"


class FakeClassifier:
    def __init__(self, label, seed, options):
        self.label, self.seed, self.options = label, seed, options

    def fit(self, X, y, hear):
        trace = self.options.get("traces")
        if trace:
            place = Path(trace) / f"{self.label}-{self.seed}-{os.getpid()}-{threading.get_ident()}"
            place.write_text("begun")
        if self.options.get("refuse") == self.label:
            raise ArgumentError("heads is 3; something else is accepted")
        if self.options.get("break") == self.label:
            raise ZeroDivisionError("unforeseen")
        if self.options.get("memory") == self.label:
            raise MemoryError
        if self.options.get("die") == self.label:
            os.kill(os.getpid(), signal.SIGKILL)
        name = f"{self.label}-{self.seed}"
        if self.options.get("die once") == name and len(list(Path(trace).glob(f"{name}-*"))) == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.options.get("hang") == self.label and not (Path(trace) / "go").exists():
            threading.Event().wait()
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
            hear(entry)
        return self

    def predict(self, X):
        generator = np.random.default_rng([self.seed, *self.label.encode()])
        return generator.choice(self.classes_, len(X))

    def save(self, path):
        Path(path).mkdir()
        (Path(path) / "config.json").write_text(json.dumps({"seed": self.seed}))


class FakeSettings(Settings):
    """A comparison of fake classifiers."""

    @property
    def methods(self):
        return [FakeMethod(attention, dict(self.options)) for attention in self.attentions]


def dataset(cases=12, name="toy"):
    generator = np.random.default_rng(0)
    return Dataset(name, generator.normal(size=(cases, 2, 7)), np.array(["a", "b"] * (cases // 2)), "made up")


PAIR = dataset(), dataset()


def cells(labels=("softmax", "bn"), seeds=(0, 1), **options):
    print_ = pair_fingerprint(*PAIR)
    return [Cell("toy", print_, FakeMethod(label, options), seed) for seed in seeds for label in labels]


def load(_):
    return PAIR
