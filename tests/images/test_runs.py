import json
import os
import signal

import pytest
import torch
from safetensors.torch import load_file

from primaldual.errors import CheckpointError, DataError
from primaldual.images import RunSettings
from primaldual.images.report import write_image_report
from primaldual.images.run_numbers import numbers_of
from primaldual.images.runs import PreparedRun
from primaldual.training import Callback, Execution, TrainingTerminated
from tests.images.helpers import write_images


@pytest.fixture
def folder(tmp_path):
    write_images(tmp_path / "data" / "train", count=20)
    write_images(tmp_path / "data" / "test", count=6, seed=1)
    return tmp_path / "data"


def settings(folder, **changes):
    given = {"epochs": 2, "batch_size": 4, "validation": 0.2, "recipe": "deit-small", **changes}
    return RunSettings(data=str(folder), attention="bn+sh(1,1,2,2)", **given)


def execution(run):
    return Execution(device="cpu", checkpoint_dir=run.folder.checkpoints, checkpoint_every=2)


class Stop(Callback):
    def on_step_end(self, state):
        if state.total_steps == 3:
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_run_that_was_stopped_goes_on_and_ends_as_if_it_had_not_been(folder, tmp_path):
    whole = PreparedRun(settings(folder), tmp_path / "whole")
    expected = whole.finish(whole.train(execution(whole)), corruptions=False)
    stopped = PreparedRun(settings(folder), tmp_path / "stopped")
    with pytest.raises(TrainingTerminated):
        stopped.train(execution(stopped), [Stop()])
    again = PreparedRun(settings(folder), tmp_path / "stopped")
    found = again.finish(again.train(execution(again)), corruptions=False)
    for name, tensor in expected.model.state_dict().items():
        assert torch.equal(tensor, found.model.state_dict()[name])
    assert found.evaluation.scores == expected.evaluation.scores
    saved = load_file(tmp_path / "stopped" / "model.safetensors")
    assert saved.keys() == found.model.state_dict().keys()


def test_numbers_and_report_are_written(folder, tmp_path):
    (folder / "train" / "bright" / "1.png").write_bytes(b"")
    run = PreparedRun(settings(folder, skip_bad=True, steps=3), tmp_path / "run")
    done = run.finish(run.train(execution(run)))
    numbers = json.loads((tmp_path / "run" / "results.json").read_text())
    assert numbers["left_out"] == [str(folder / "train" / "bright" / "1.png")]
    assert numbers["images"] == {"training": 15, "validation": 4, "test": 6}
    assert numbers["training"]["images_per_second"] > 0
    assert numbers_of(done)["config"] == numbers["config"]
    page = write_image_report(done).read_text()
    assert "bn+sh(1,1,2,2)" in page
    assert "1 files cannot be read" in page
    assert "layer 4, head 4" in page
    assert page.count("<svg") == 4


def test_a_folder_of_another_run_is_refused_with_the_differences(folder, tmp_path):
    PreparedRun(settings(folder), tmp_path / "run")
    PreparedRun(settings(folder), tmp_path / "run")
    with pytest.raises(
        CheckpointError, match=r"another config: epochs 2 there, 3 now; seed 0 there, 1 now; give"
    ):
        PreparedRun(settings(folder, epochs=3, seed=1, validation=0.2), tmp_path / "run")


def test_bad_data_is_refused_before_training(folder, tmp_path):
    for path in (folder / "train" / "bright").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"file .* and 5 more cannot be read: 10 of 20 images"):
        PreparedRun(settings(folder), tmp_path / "run")
    with pytest.raises(DataError, match="the only class of the training images is 'dark'"):
        PreparedRun(settings(folder, skip_bad=True), tmp_path / "run")
    assert not (tmp_path / "run").exists()
