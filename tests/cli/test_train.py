from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from primaldual.errors import CheckpointError
from primaldual.estimators import AttentionClassifier
from tests.cli.helpers import TINY, run


def frame(cases, seed=0):
    generator = np.random.default_rng(seed)
    names = [f"s{seed}c{number}" for number in range(cases)]
    long = pd.DataFrame([(name, time) for name in names for time in range(6)], columns=["case", "time"])
    long["label"] = np.repeat([["up", "down"][number % 2] for number in range(cases)], 6)
    return long.assign(pulse=generator.normal(size=len(long)), temp=37 + generator.normal(size=len(long)))


@pytest.fixture
def source(tmp_path):
    frame(20).to_csv(tmp_path / "a.csv", index=False)
    return tmp_path / "a.csv"


def test_it_says_how_many_cases_train_and_how_many_are_held_out(capsys, source, tmp_path):
    code, out, err = run(capsys, "train", source, "--out", tmp_path / "m", *TINY)
    assert code == 0
    assert "a: training on 14 of 20 cases; 6 are held out for evaluate --split test" in " ".join(err.split())
    assert f"Saved: {tmp_path / 'm'}" in out
    command = shlex.split(out.rstrip().splitlines()[-1].partition(": ")[2])
    assert command == ["primaldual", "evaluate", str(tmp_path / "m"), str(source), "--split", "test"]
    code, evaluated, _ = run(capsys, *command[1:])
    assert code == 0
    assert "a: 6 cases, none seen in training" in evaluated
    found = json.loads(run(capsys, "train", source, "--out", tmp_path / "m", "--json", *TINY)[1])
    assert (found["train_cases"], found["held_out_cases"]) == (14, 6)
    code, _, err = run(capsys, "train", source, "--no-split", "--out", tmp_path / "m", *TINY)
    assert "training on all 20 cases" in err
    code, _, err = run(capsys, "train", "BasicMotions", "--out", tmp_path / "b", *TINY)
    assert "training on the 40 cases of its train part" in err


def test_a_file_of_other_cases_is_tested_and_nothing_is_held_out(capsys, source, tmp_path):
    other = frame(6, seed=1)[["case", "time", "temp", "label", "pulse"]]
    other.to_csv(tmp_path / "b.csv", index=False)
    words = ["train", source, "--test", tmp_path / "b.csv", "--out", tmp_path / "m", *TINY]
    found = json.loads(run(capsys, *words, "--json")[1])
    assert (found["train_cases"], found["held_out_cases"], found["test_cases"]) == (20, 0, 6)
    evaluated = json.loads(run(capsys, "evaluate", tmp_path / "m", tmp_path / "b.csv", "--json")[1])
    assert evaluated["accuracy"] == found["test_accuracy"]
    assert evaluated["seen_in_training"] == 0
    code, out, _ = run(capsys, *words)
    assert code == 0
    assert "trained on" not in out
    assert f"b: test accuracy {found['test_accuracy']:.3f} on 6 cases" in out
    code, out, _ = run(capsys, "train", source, "--test", source, "--out", tmp_path / "m", *TINY)
    assert "on 20 cases, 20 of them trained on" in out
    other.rename(columns={"temp": "height"}).to_csv(tmp_path / "b.csv", index=False)
    code, _, err = run(capsys, *words)
    assert code == 2
    assert "lacks temp and has height besides" in err
    other.assign(label="left").to_csv(tmp_path / "b.csv", index=False)
    code, _, err = run(capsys, *words)
    assert code == 2
    assert "test labels left never occur" in err


def test_the_train_file_alone_is_enough(capsys, tmp_path):
    body = "".join(f"{number},2,3:{'ab'[number % 2]}\n" for number in range(8))
    (tmp_path / "toy_TRAIN.ts").write_text("@classLabel true a b\n@data\n" + body)
    code, _, err = run(capsys, "train", tmp_path / "toy_TRAIN.ts", "--out", tmp_path / "m", *TINY)
    assert code == 0
    assert "the 8 cases of its train part" in err


def test_one_class_is_refused_before_training(capsys, source, tmp_path):
    frame(20).assign(label="a").to_csv(source, index=False)
    code, _, err = run(capsys, "train", source, "--out", tmp_path / "m", *TINY)
    assert (code, err) == (2, "error: a: every train label is 'a'; two classes needed\n")


def test_columns_by_other_names(capsys, tmp_path):
    named = {"case": "patient", "time": "day", "label": "illness"}
    frame(20).rename(columns=named).assign(note="free text").to_csv(tmp_path / "a.csv", index=False)
    columns = ["--case", "patient", "--time", "day", "--channels", "temp,pulse"]
    labels = ["--label", "illness"]
    code, _, err = run(capsys, "train", tmp_path / "a.csv", "--out", tmp_path / "m", *columns, *labels, *TINY)
    assert code == 0, err
    code, out, _ = run(capsys, "predict", tmp_path / "m", tmp_path / "a.csv", *columns)
    assert code == 0
    assert out.splitlines()[1].startswith("s0c0,")
    code, _, err = run(capsys, "evaluate", tmp_path / "m", tmp_path / "a.csv", *columns, *labels)
    assert code == 0, err
    words = ["compare", tmp_path / "a.csv", "-a", "softmax", "--seeds", 1, "--out", tmp_path / "c"]
    code, _, err = run(capsys, *words, *columns, *labels, *TINY)
    assert code == 0, err
    model = tmp_path / "c" / "models" / "softmax-seed0"
    found = json.loads(run(capsys, "evaluate", model, tmp_path / "a.csv", *columns, *labels, "--json")[1])
    assert found["seen_in_training"] == 14


def test_a_classifier_that_cannot_be_saved_in_its_place_is_not_lost(capsys, source, tmp_path, monkeypatch):
    save = AttentionClassifier.save

    def full(self, path):
        if path == tmp_path / "m":
            raise OSError(28, "No space left on device")
        save(self, path)

    monkeypatch.setattr(AttentionClassifier, "save", full)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "elsewhere"))
    (tmp_path / "elsewhere").mkdir()
    code, _, err = run(capsys, "train", source, "--out", tmp_path / "m", *TINY)
    assert code == 2
    assert "--out" in err
    assert "the disk is full" in err
    kept = err.strip().rpartition(" is in ")[2]
    assert AttentionClassifier.load(kept).classes_.tolist() == ["down", "up"]
    monkeypatch.setattr(
        AttentionClassifier, "save", lambda self, path: (_ for _ in ()).throw(CheckpointError("no"))
    )
    code, _, err = run(capsys, "train", source, "--out", tmp_path / "m", *TINY)
    assert code == 2
    assert len(err.strip().splitlines()[-1].split(" is in ")) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")
@pytest.mark.parametrize("command", ["compare"])
def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(source, tmp_path, command):
    import resource

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(
            resource.RLIMIT_FSIZE, (200_000 if command == "compare" else 4_000, resource.RLIM_INFINITY)
        )

    words = [command, str(source), "--out", str(tmp_path / "out"), *TINY[:-2], "--embed-dim", "256"]
    words += ["-a", "softmax", "--seeds", "1"] if command == "compare" else []
    done = subprocess.run(
        [sys.executable, "-B", "-m", "primaldual.cli", *words],
        check=False, capture_output=True, text=True, preexec_fn=limit, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert "the disk is full, or a limit on the size of files" in last
    assert "Traceback" not in done.stderr
    left = [
        path for path in tmp_path.rglob("*") if path.name == "model.safetensors" or path.name.startswith(".")
    ]
    assert left == []


def test_head_and_weights_of_classes_are_options(capsys, source, tmp_path):
    words = ["--head", "mean", "--class-weight", "up=3,down=0.5", "--label-smoothing", "0.2"]
    code, _, _ = run(capsys, "train", source, "--out", tmp_path / "m", *TINY, *words)
    assert code == 0
    saved = AttentionClassifier.load(tmp_path / "m").get_params()
    assert (saved["head"], saved["label_smoothing"]) == ("mean", 0.2)
    assert saved["class_weight"] == {"up": 3.0, "down": 0.5}
    code, _, _ = run(capsys, "train", source, "--out", tmp_path / "m", *TINY, "--class-weight", "balanced")
    assert AttentionClassifier.load(tmp_path / "m").class_weight == "balanced"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--class-weight", "fair"],
            "--class-weight must be balanced or label=weight, comma-separated; got 'fair'",
        ),
        (["--class-weight", "up=x"], "--class-weight must give a number for every label; got 'up=x'"),
        (["--class-weight", "left=2"], "--class-weight names 'left'; the labels are down, up"),
        (["--class-weight", "up=0"], "--class-weight must hold finite positive numbers; got 0.0 for 'up'"),
        (["--label-smoothing", "1"], "--label-smoothing must lie in [0, 1); got 1.0"),
        (["--head", "tail"], "--head must be"),
    ],
)
def test_options_out_of_range_are_named_as_flags(capsys, source, tmp_path, words, message):
    code, _, err = run(capsys, "train", source, "--out", tmp_path / "m", *TINY, *words)
    assert code == 2
    assert message in err


@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_an_interrupted_training_saves_the_best_epoch_so_far(capsys, source, tmp_path, monkeypatch, as_json):
    from primaldual.cli.progress import GridProgress

    def stop_at_two(self, event):
        if event.entry["epoch"] == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(GridProgress, "__call__", stop_at_two)
    words = [*TINY, "--epochs", "50", *as_json]
    code, out, err = run(capsys, "train", source, "--test", source, "--out", tmp_path / "m", *words)
    assert code == 130
    assert "Stopped." in err
    if as_json:
        assert json.loads(out)["interrupted"] is True
        assert json.loads(out)["epochs"] == 2
    else:
        assert " of 2, validation accuracy" in out
        assert f"Saved: {tmp_path / 'm'}" in out
    assert run(capsys, "evaluate", tmp_path / "m", source)[0] == 0


def test_a_training_that_is_interrupted_at_once_saves_nothing(capsys, source, tmp_path, monkeypatch):
    def stop(self, X, y):
        raise KeyboardInterrupt

    monkeypatch.setattr(AttentionClassifier, "fit", stop)
    code, out, _err = run(capsys, "train", source, "--out", tmp_path / "m", *TINY)
    assert (code, out) == (130, "")
    assert not (tmp_path / "m").exists()
