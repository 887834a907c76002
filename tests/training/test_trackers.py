from typing import ClassVar

import pytest
from accelerate import tracking

from primaldual.errors import ArgumentError, UnsupportedError
from primaldual.training import Trackers
from primaldual.training import trackers as module
from tests.training.helpers import toy_run


class Notebook:
    requires_logging_directory = True
    pages: ClassVar = []

    def __init__(self, name, logging_dir):
        self.pages.append((name, logging_dir))

    def start(self):
        self.pages.append("start")

    def store_init_configuration(self, values):
        self.pages.append(values)

    def log(self, values, step):
        self.pages.append((step, sorted(values)))

    def finish(self):
        self.pages.append("finish")


def test_trackers_are_told_of_settings_and_epochs(monkeypatch, tmp_path):
    monkeypatch.setitem(tracking.LOGGER_TYPE_TO_CLASS, "notebook", Notebook)
    toy_run([Trackers(["notebook"], tmp_path, {"seed": 0, "classes": ["a"]})], epochs=2, validation=False)
    names = ["epoch", "learning_rate", "loading_seconds", "seconds", "train_loss", "training_seconds"]
    start = [("primaldual", tmp_path), "start", {"seed": 0}]
    assert Notebook.pages == [*start, (3, names), (6, names), "finish"]


def test_unknown_and_missing_trackers_are_named(monkeypatch):
    with pytest.raises(ArgumentError, match=r"tracker must be one of .*tensorboard.*; got 'pencil'"):
        Trackers(["pencil"], ".", {})
    monkeypatch.setattr(module, "get_available_trackers", list)
    with pytest.raises(
        UnsupportedError, match=r"tracker tensorboard needs its package; .*pip install tensorboard"
    ):
        Trackers(["tensorboard"], ".", {})
