from __future__ import annotations

import json

import pytest

from tests.cli.helpers import run

SMALL = ["train", "lra", "--task", "listops", "--max-length", 40, "--cases", 24, "--processes", 1]


def test_listops_is_generated_trained_on_tested_and_reported(capsys, tmp_path):
    words = [
        *SMALL,
        "--data-dir",
        tmp_path / "kept",
        "--out",
        tmp_path / "run",
        "--steps",
        4,
        "--batch-size",
        8,
    ]
    code, out, err = run(capsys, *words, "-a", "bn")
    assert code == 0
    assert "listops: 24 cases of 10 classes to train on, 3 to choose the epoch by, 3 to test" in err
    assert "Configuration pytorch with bn: 2 blocks of width 64, 2 heads, 4 steps of 8 cases" in err
    assert "epoch 2/2: loss" in err
    assert f"Report: {tmp_path / 'run' / 'report.html'}" in out
    code, out, err = run(capsys, *words, "-a", "bn", "--json")
    assert "Going on after step 4 of 4" in err
    assert json.loads(out)["test"]["cases"] == 3
    code, _, err = run(capsys, *words, "-a", "softmax")
    assert code == 2
    assert err.splitlines()[-1].endswith("attention bn there, softmax now; give another --out")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--task", "listop"], "error: --task must be one of listops"),
        (["--task", "listops", "--config", "flax"], "error: --config must be one of pytorch, jax"),
        (["--task", "listops", "-a", "sh(1,2,4,8)"], "one for each of the 2 heads; got 4"),
        (["--task", "listops", "--difficulty", "easy"], "error: --difficulty is for pathfinder"),
        (["--task", "pathfinder", "--difficulty", "hrd"], "did you mean hard"),
        (["--task", "text"], "error: --data must be given for text"),
        (["--task", "pixels", "--data", "nowhere"], "error: --data nowhere does not exist"),
        (["--task", "listops", "--heads", "3"], "multiple of"),
    ],
)
def test_errors_name_the_flag(capsys, tmp_path, words, message):
    code, _, err = run(
        capsys, "train", "lra", "--out", tmp_path / "run", "--data-dir", tmp_path / "kept", *words
    )
    assert code == 2
    assert message in err.splitlines()[-1]
    assert not (tmp_path / "run").exists()


def test_help_shows_examples(capsys):
    code, out, _ = run(capsys, "train", "lra", "--help")
    assert code == 0
    assert "--task listops --max-length 512" in out
