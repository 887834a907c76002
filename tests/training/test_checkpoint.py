import json
import os
import random
import resource
import signal

import numpy as np
import pytest
import torch

from primaldual.errors import CheckpointError
from primaldual.training import Callback, Execution, TrainingTerminated
from primaldual.training.checkpoint import RunCheckpoints
from tests.training.helpers import launched, toy_run, without_seconds


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


def test_a_checkpoint_that_the_same_run_removes_elsewhere_is_passed_over(tmp_path, monkeypatch):
    wanted = toy_run((), tmp_path, epochs=1)
    plain = RunCheckpoints._written
    seen = iter([[only_checkpoint(tmp_path), only_checkpoint(tmp_path).with_name("epoch-000099")]])
    monkeypatch.setattr(RunCheckpoints, "_written", lambda self: next(seen, None) or plain(self))
    assert toy_run((), tmp_path, epochs=1).history == wanted.history
    assert next(seen, None) is None


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


STEPS = {"epochs": 4, "batch_size": 6, "ema_decay": 0.9}
"""Four steps an epoch."""

KILLED_IN_AN_EPOCH = """
import os, signal, sys
from primaldual.training import Callback, Execution
from tests.training.helpers import toy_run

class Kill(Callback):
    def on_step_end(self, state):
        if state.total_steps == 7:
            os.kill(os.getpid(), signal.SIGKILL)

execution = Execution(checkpoint_dir=sys.argv[1], checkpoint_every=2)
toy_run([Kill()], execution=execution, epochs=4, batch_size=6, ema_decay=0.9)
"""

KILLED_IN_A_CHECKPOINT = """
import os, signal, sys
from pathlib import Path
from primaldual.training import Execution, checkpoint
from tests.training.helpers import toy_run

written = []

def half_a_file(tensors, path):
    written.append(path)
    if len(written) == 7:
        Path(path).write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGKILL)
    save_file(tensors, path)

save_file, checkpoint.save_file = checkpoint.save_file, half_a_file
execution = Execution(checkpoint_dir=sys.argv[1], checkpoint_every=2)
toy_run(execution=execution, epochs=4, batch_size=6, ema_decay=0.9)
"""


def assert_resumes_exactly(folder):
    expected = toy_run(**STEPS)
    resumed = toy_run(execution=Execution(checkpoint_dir=folder, checkpoint_every=2), **STEPS)
    assert without_seconds(resumed.history) == without_seconds(expected.history)
    for name, tensor in expected.best_weights.items():
        assert torch.equal(tensor, resumed.best_weights[name])


@pytest.mark.parametrize(
    ("code", "last"),
    [
        (KILLED_IN_AN_EPOCH, "epoch-000001-step-00000002"),
        (KILLED_IN_A_CHECKPOINT, "epoch-000001"),
    ],
    ids=["in an epoch", "in a checkpoint"],
)
def test_a_run_that_was_killed_loses_only_the_steps_since_its_checkpoint(tmp_path, code, last):
    (tmp_path / "run.py").write_text(code)
    killed = launched(tmp_path / "run.py", tmp_path / "checkpoints")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert only_checkpoint(tmp_path / "checkpoints").name == last
    assert_resumes_exactly(tmp_path / "checkpoints")


class At(Callback):
    """Does something after a step."""

    def __init__(self, step, action):
        self.step, self.action = step, action

    def on_step_end(self, state):
        if state.total_steps == self.step:
            self.action()


@pytest.mark.parametrize("step", [6, 8, 9])
def test_sigterm_ends_a_run_after_a_checkpoint(tmp_path, step):
    former = signal.getsignal(signal.SIGTERM)
    terminate = At(step, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(TrainingTerminated) as ended:
        toy_run([terminate], tmp_path, **STEPS)
    assert ended.value.code == 143
    assert signal.getsignal(signal.SIGTERM) == former
    epoch, rest = divmod(step - 1, 4)
    assert only_checkpoint(tmp_path).name == f"epoch-{epoch:06d}-step-{rest + 1:08d}"
    assert_resumes_exactly(tmp_path)


class AtTheEnd(Callback):
    def on_epoch_end(self, state):
        if state.epoch == 2:
            os.kill(os.getpid(), signal.SIGTERM)


def test_sigterm_between_two_epochs_ends_a_run_there(tmp_path):
    with pytest.raises(TrainingTerminated):
        toy_run([AtTheEnd()], tmp_path, **STEPS)
    assert only_checkpoint(tmp_path).name == "epoch-000002"
    assert_resumes_exactly(tmp_path)


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    fill = At(9, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (500, before[1])))
    try:
        with pytest.raises(CheckpointError, match="the disk is full"):
            toy_run([fill], execution=Execution(checkpoint_dir=tmp_path, checkpoint_every=2), **STEPS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert only_checkpoint(tmp_path).name == "epoch-000002"
    assert len(list(tmp_path.glob("*/.writing*"))) == 0
    assert_resumes_exactly(tmp_path)


def test_what_a_killed_run_left_half_written_is_cleared_away_later(tmp_path):
    toy_run((), tmp_path, epochs=1)
    run = only_checkpoint(tmp_path).parent
    for name, age in (("old", 7200), ("new", 0)):
        half = run / f".writing-{name}"
        half.mkdir()
        os.utime(half, (half.stat().st_mtime - age,) * 2)
    toy_run((), tmp_path, epochs=1)
    assert {path.name for path in run.glob(".writing*")} == {".writing-new"}
