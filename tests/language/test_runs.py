import json
import os
import signal

import pytest
import torch

from primaldual.errors import ArgumentError, CheckpointError, DataError, UnsupportedError
from primaldual.language import LanguageModel, PreparedTextRun, TextSettings
from primaldual.training import Callback, Execution, TrainingTerminated
from tests.language.helpers import SIZES, write_text


@pytest.fixture
def file(tmp_path):
    return write_text(tmp_path)


def settings(file, **changes):
    sizes = {} if "base" in changes else SIZES
    given = {"steps": 6, "batch_size": 24, "validation": 0.05, "dropout": 0.1, **changes}
    return TextSettings(file, **{**sizes, **given})


def execution(run):
    return Execution(device="cpu", checkpoint_dir=run.folder.checkpoints, checkpoint_every=2)


def finished(run):
    return run.finish(run.train(execution(run)))


class Stop(Callback):
    def on_step_end(self, state):
        if state.total_steps == 3:
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_run_that_was_stopped_goes_on_and_ends_as_if_it_had_not_been(file, tmp_path):
    given = settings(file, attention="bn+sh(1,1,2,4)")
    expected = finished(PreparedTextRun(given, tmp_path / "whole"))
    stopped = PreparedTextRun(given, tmp_path / "stopped")
    with pytest.raises(TrainingTerminated):
        stopped.train(execution(stopped), [Stop()])
    found = finished(PreparedTextRun(given, tmp_path / "stopped"))
    for name, tensor in expected.model.decoder.state_dict().items():
        assert torch.equal(tensor, found.model.decoder.state_dict()[name])
    assert found.scores == expected.scores
    numbers = json.loads((tmp_path / "stopped" / "results.json").read_text())
    assert numbers["tokens"] == {"training": 756, "validation": 42, "test": 42}
    assert numbers["test"]["perplexity"] == found.scores["test"].perplexity
    loaded = LanguageModel.load(tmp_path / "stopped")
    assert numbers["cache_bytes"] == loaded.cache_bytes()
    assert loaded.generate("to be", 9) == found.model.generate("to be", 9)


def test_training_helps(file, tmp_path):
    done = finished(PreparedTextRun(settings(file, steps=40, learning_rate=0.01), tmp_path / "run"))
    assert done.state.total_steps == 40
    assert done.scores["test"].nats < 0.9 * done.state.history[0]["train_loss"]


def test_a_trained_model_is_trained_further_with_another_attention(file, tmp_path):
    finished(PreparedTextRun(settings(file, tokens="characters"), tmp_path / "base"))
    whole = LanguageModel.load(tmp_path / "base")
    changed = settings(file, base=tmp_path / "base", attention="sh(2)", steps=2)
    run = PreparedTextRun(changed, tmp_path / "sh")
    assert torch.equal(run.model.decoder.tokens.weight, whole.decoder.tokens.weight)
    done = finished(run)
    assert done.model.config["attention"] == "sh(2)"
    assert done.numbers["cache_bytes"] < 0.7 * whole.cache_bytes()
    assert LanguageModel.load(tmp_path / "sh").generate("to", 5) == done.model.generate("to", 5)
    grouped = PreparedTextRun(
        settings(file, base=tmp_path / "base", kv_heads=2, steps=2), tmp_path / "grouped"
    )
    assert grouped.model.decoder.layers[0].attention.kv_heads == 2
    (tmp_path / "other.txt").write_text("xyz" * 300)
    with pytest.raises(ArgumentError, match=r"text .* has 3 characters that the model does not know"):
        PreparedTextRun(settings(tmp_path / "other.txt", base=tmp_path / "base"), tmp_path / "no")


def test_a_text_without_validation_and_test_keeps_the_last_weights(file, tmp_path):
    done = finished(PreparedTextRun(settings(file, validation=0.0, test=0.0, steps=2), tmp_path / "run"))
    assert done.scores == {}
    assert done.state.history[-1]["validation_loss"] is None


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"context": 900}, DataError, "context 900 needs 901 tokens or more in the training part"),
        ({"context": 100}, DataError, "context 100 needs 101 tokens or more in the validation part"),
        ({"attention": "conv2d(3,grid=2x4)"}, UnsupportedError, "attention must decode step by step"),
        ({"kv_heads": 3}, ArgumentError, "kv_heads must divide num_heads"),
        ({"base": "nowhere"}, CheckpointError, "holds no trained language model"),
    ],
)
def test_bad_input_is_refused_before_training(file, tmp_path, changes, error, message):
    with pytest.raises(error, match=message):
        PreparedTextRun(settings(file, **changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_folder_of_another_run_is_refused_with_the_differences(file, tmp_path):
    PreparedTextRun(settings(file), tmp_path / "run")
    with pytest.raises(
        CheckpointError, match="another config: attention softmax there, bn now; seed 0 there, 1 now"
    ):
        PreparedTextRun(settings(file, attention="bn", seed=1), tmp_path / "run")
