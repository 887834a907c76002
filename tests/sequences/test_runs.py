from __future__ import annotations

import json
import os
import signal

import pytest
import torch
from safetensors.torch import load_file

from primaldual.errors import ArgumentError, CheckpointError, DataError, PrimalDualError
from primaldual.sequences import PreparedRun, RunSettings
from primaldual.sequences.report import write_sequence_report
from primaldual.sequences.run_numbers import numbers_of
from primaldual.training import Callback, Execution, TrainingTerminated
from tests.sequences.helpers import write_table, write_texts


def settings(tmp_path, **changes):
    given = {"max_length": 40, "cases": 48, "batch_size": 8, "steps": 9, **changes}
    return RunSettings("listops", "bn+sh(1,2)", data_dir=tmp_path / "kept", **given)


def execution(run):
    return Execution(device="cpu", checkpoint_dir=run.folder.checkpoints, checkpoint_every=2)


class Stop(Callback):
    def on_step_end(self, state):
        if state.total_steps == 3:
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_run_that_was_stopped_goes_on_and_ends_as_if_it_had_not_been(tmp_path):
    whole = PreparedRun(settings(tmp_path), tmp_path / "whole")
    expected = whole.finish(whole.train(execution(whole)))
    stopped = PreparedRun(settings(tmp_path), tmp_path / "stopped")
    with pytest.raises(TrainingTerminated):
        stopped.train(execution(stopped), [Stop()])
    again = PreparedRun(settings(tmp_path), tmp_path / "stopped")
    found = again.finish(again.train(execution(again)))
    for name, tensor in expected.model.state_dict().items():
        assert torch.equal(tensor, found.model.state_dict()[name])
    assert found.evaluation.log_loss == expected.evaluation.log_loss
    assert load_file(tmp_path / "stopped" / "model.safetensors").keys() == found.model.state_dict().keys()
    numbers = json.loads((tmp_path / "stopped" / "results.json").read_text())
    assert numbers["cases"] == {"training": 48, "validation": 6, "test": 6}
    assert numbers_of(found)["config"] == numbers["config"]
    page = write_sequence_report(found).read_text()
    assert "listops with bn+sh(1,2), configuration pytorch" in page
    assert page.count("<svg") == 1
    with pytest.raises(
        CheckpointError, match=r"another config: steps 9 there, 10 now; seed 0 there, 1 now; give"
    ):
        PreparedRun(settings(tmp_path, seed=1, steps=10), tmp_path / "stopped")


def test_pairs_are_learned_from_a_table(tmp_path):
    rows = [["text1", "text2", "label"]]
    rows += [["abc" * 3, "abc" if number % 2 else "xyz", "ny"[number % 2]] for number in range(20)]
    given = RunSettings(
        "retrieval",
        data=write_table(tmp_path / "p.csv", rows),
        data_dir=tmp_path,
        max_length=9,
        steps=2,
        batch_size=8,
    )
    run = PreparedRun(given, tmp_path / "run")
    assert [len(part) for part in (run.parts.training, run.parts.validation, run.parts.test)] == [14, 2, 4]
    assert run.finish(run.train(execution(run))).evaluation.cases == 4


def test_bad_input_is_refused_before_training(tmp_path):
    write_texts(tmp_path / "one", ("good",))
    write_texts(tmp_path / "long", length=9)
    for given, message in [
        (
            RunSettings("text", data=tmp_path / "one", data_dir=tmp_path),
            "text: the only class of the training part is 'good'; two are needed",
        ),
        (
            RunSettings("text", data=tmp_path / "long", data_dir=tmp_path, max_length=20),
            "text: 8 of 8 sequences are longer than max_length 20; the longest has 162 tokens, so give max_length 162, "
            "or let truncate cut them",
        ),
    ]:
        with pytest.raises(DataError, match=message):
            PreparedRun(given, tmp_path / "run")
    with pytest.raises(PrimalDualError, match="softmx"):
        PreparedRun(RunSettings("listops", "softmx", data_dir=tmp_path / "kept"), tmp_path / "run")
    with pytest.raises(ArgumentError, match="embed_dim must be a multiple of num_heads; got 64 and 3"):
        PreparedRun(RunSettings("listops", heads=3, data_dir=tmp_path / "kept"), tmp_path / "run")
    assert not (tmp_path / "kept").exists()
    assert not (tmp_path / "run").exists()


def test_longer_texts_are_cut_where_that_is_asked_for(tmp_path):
    write_texts(tmp_path / "long", count=10, length=9)
    given = RunSettings("text", data=tmp_path / "long", data_dir=tmp_path, max_length=20, truncate=True)
    run = PreparedRun(given, tmp_path / "run")
    assert run.parts.training.lengths.max() == run.parts.test.lengths.max() == 20
    assert run.parts.notes[-1] == "10 of 10 cases are cut to 20 tokens"
