from types import SimpleNamespace

import pytest

from primaldual.cli import run_training
from primaldual.cli.run_training import trained
from primaldual.training.run_folders import RunFolder


class Told:
    def __init__(self):
        self.words = []

    def tell(self, words):
        self.words.append(words)


@pytest.fixture
def run(tmp_path):
    calls = []
    made = SimpleNamespace(folder=RunFolder(tmp_path), config={"seed": 0}, calls=calls)
    made.train = lambda execution, callbacks: calls.append((execution, callbacks)) or "the state"
    return made


def test_the_first_process_gets_the_state_and_hears_of_testing(run, tmp_path):
    notes = Told()
    assert trained(run, notes, None, {"accumulation": 2}) == "the state"
    ((execution, callbacks),) = run.calls
    assert (execution.checkpoint_dir, execution.accumulation) == (tmp_path / "checkpoints", 2)
    assert callbacks == [notes]
    assert notes.words == ["testing"]


def test_other_processes_are_done_after_training(run, monkeypatch):
    monkeypatch.setattr(run_training, "is_main_process", lambda: False)
    notes = Told()
    assert trained(run, notes, None, {}) is None
    assert notes.words == []


def test_trackers_log_to_the_folder_and_know_the_config(run, tmp_path, monkeypatch):
    monkeypatch.setattr(run_training, "Trackers", lambda *given: given)
    trained(run, Told(), ["tensorboard"], {})
    ((_, (_, trackers)),) = run.calls
    assert trackers == (["tensorboard"], tmp_path, {"seed": 0})
