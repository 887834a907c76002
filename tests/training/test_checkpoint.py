import json
import random

import numpy as np
import pytest
import torch

from primaldual.errors import CheckpointError
from primaldual.training import Callback
from tests.training.helpers import toy_run, without_seconds


class InterruptAt(Callback):
    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_end(self, state):
        if state.epoch == self.epoch:
            raise KeyboardInterrupt


def only_checkpoint(folder):
    [found] = folder.glob("*/epoch-*")
    return found


@pytest.mark.parametrize("optimizer", ["adamw", "radam"])
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path, optimizer):
    uninterrupted = toy_run(epochs=6, optimizer=optimizer)
    for epoch in (2, 5):
        with pytest.raises(KeyboardInterrupt):
            toy_run([InterruptAt(epoch)], tmp_path, epochs=6, optimizer=optimizer)
        assert only_checkpoint(tmp_path).name == f"epoch-{epoch - 1:06d}"
    resumed = toy_run((), tmp_path, epochs=6, optimizer=optimizer)
    assert without_seconds(resumed.history) == without_seconds(uninterrupted.history)
    assert resumed.best_epoch == uninterrupted.best_epoch
    for name, tensor in uninterrupted.best_weights.items():
        assert torch.equal(tensor, resumed.best_weights[name])


def test_early_stopping_is_the_same_after_resuming(tmp_path):
    settings = {"epochs": 100, "learning_rate": 5e-2, "patience": 5}
    uninterrupted = toy_run(**settings)
    with pytest.raises(KeyboardInterrupt):
        toy_run([InterruptAt(uninterrupted.epoch - 2)], tmp_path, **settings)
    resumed = toy_run((), tmp_path, **settings)
    assert without_seconds(resumed.history) == without_seconds(uninterrupted.history)


def test_a_finished_run_is_read_back_without_training(tmp_path):
    first = toy_run((), tmp_path)
    again = toy_run([InterruptAt(1), InterruptAt(4)], tmp_path)
    assert again.history == first.history
    assert torch.equal(again.best_weights["positions"], first.best_weights["positions"])


def test_runs_that_differ_share_a_folder_without_meeting(tmp_path):
    toy_run((), tmp_path)
    other = toy_run((), tmp_path, learning_rate=1e-3)
    assert without_seconds(other.history) == without_seconds(toy_run(learning_rate=1e-3).history)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_write_that_was_cut_off_is_ignored(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        toy_run([InterruptAt(3)], tmp_path)
    half_written = only_checkpoint(tmp_path).parent / ".writing"
    half_written.mkdir()
    (half_written / "model.safetensors").write_bytes(b"half")
    assert without_seconds(toy_run((), tmp_path).history) == without_seconds(toy_run().history)


@pytest.mark.parametrize("name", ["model.safetensors", "best.safetensors", "optimizer.bin", "progress.json"])
def test_a_corrupt_checkpoint_is_one_clear_error(tmp_path, name):
    toy_run((), tmp_path, epochs=1)
    (only_checkpoint(tmp_path) / name).write_bytes(b"broken")
    with pytest.raises(CheckpointError, match=r"checkpoint '.*epoch-000001' cannot be read .*delete it"):
        toy_run((), tmp_path, epochs=1)


def test_a_place_that_cannot_be_written_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CheckpointError, match=r"checkpoint_dir .* cannot be written"):
        toy_run((), tmp_path / "file")


def test_resuming_leaves_the_global_generators_alone(tmp_path):
    toy_run((), tmp_path, epochs=1)
    random.seed(3)
    np.random.seed(3)
    before = (random.getstate(), np.random.get_state()[1].tolist())
    toy_run((), tmp_path, epochs=1)
    assert before == (random.getstate(), np.random.get_state()[1].tolist())


def test_progress_is_plain_json(tmp_path):
    state = toy_run((), tmp_path)
    progress = json.loads((only_checkpoint(tmp_path) / "progress.json").read_text())
    assert progress["history"] == state.history
