from __future__ import annotations

import json
import sys

import pytest

from tests.cli.helpers import run
from tests.images.helpers import write_images


@pytest.fixture
def folder(tmp_path):
    write_images(tmp_path / "data" / "train", count=12)
    write_images(tmp_path / "data" / "test", count=4, seed=1)
    return tmp_path / "data"


def test_a_folder_is_trained_on_tested_and_reported(capsys, folder, tmp_path):
    words = ["train", "images", "--data", folder, "--out", tmp_path / "run", "--epochs", 2, "-a", "bn"]
    code, out, err = run(capsys, *words, "--validation", 0.2, "--tracker", "tensorboard")
    assert (code, err.splitlines()[-1][:40]) == (2, "error: --tracker tensorboard needs its p")
    code, out, err = run(capsys, *words, "--validation", 0.2)
    assert code == 0
    assert "10 images of 2 classes to train on, 2 to choose the epoch by, 4 to test" in err
    assert "epoch 2/2: loss" in err
    assert f"Report: {tmp_path / 'run' / 'report.html'}" in out
    code, out, err = run(capsys, *words, "--validation", 0.2, "--json")
    assert "Going on after step 2 of 2" in err
    assert json.loads(out)["test"]["images"] == 4
    code, _, err = run(capsys, *words, "--validation", 0.2, "--seed", 1)
    assert code == 2
    assert err.splitlines()[-1].endswith("seed 0 there, 1 now; give another --out")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--recipe", "diet"], "error: --recipe must be one of"),
        (["--model", "vit_tny"], "error: --model must be one of"),
        (["--data", "nowhere"], "error: --data nowhere is not a folder"),
        (["-a", "softmx"], "did you mean softmax"),
        (["--batch-size", "0"], "--batch-size"),
        (["--device", "nowhere"], "--device 'nowhere' cannot be used"),
    ],
)
def test_errors_name_the_flag(capsys, tmp_path, words, message):
    code, _, err = run(capsys, "train", "images", "--out", tmp_path / "run", *words)
    assert code == 2
    assert message in err.splitlines()[-1]


def test_it_says_what_to_install(capsys, folder, tmp_path, monkeypatch):
    for name in ("timm", "torchvision.transforms"):
        monkeypatch.setitem(sys.modules, name, None)
        code, _, err = run(capsys, "train", "images", "--data", folder, "--out", tmp_path / "run")
        assert code == 2
        assert err.splitlines()[-1].endswith('get it with: pip install "primaldual[vision]"')
        monkeypatch.undo()
