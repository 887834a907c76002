from __future__ import annotations

import json

import numpy as np
import pytest

from primaldual.cli import main
from primaldual.estimators import AttentionClassifier
from tests.cli.helpers import TINY, run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    generator = np.random.default_rng(0)
    np.savez(folder / "noise.npz", X=generator.normal(size=(40, 1, 8)), y=generator.permutation([1, 2] * 20))
    words = [*TINY, "--epochs", "80", "--learning-rate", "0.02", "--patience", "80"]
    main(["train", str(folder / "noise.npz"), "--out", str(folder / "m"), *words])
    return folder


def test_seen_and_unseen_cases_are_counted_apart(capsys, folder):
    found = json.loads(run(capsys, "evaluate", folder / "m", folder / "noise.npz", "--json")[1])
    unseen = json.loads(
        run(capsys, "evaluate", folder / "m", folder / "noise.npz", "--split", "test", "--json")[1]
    )
    assert (found["cases"], found["seen_in_training"], unseen["seen_in_training"]) == (40, 28, 0)
    assert found["accuracy_unseen"] == unseen["accuracy"]
    assert found["accuracy"] == pytest.approx(
        (28 * found["accuracy_seen"] + 12 * found["accuracy_unseen"]) / 40
    )
    out = run(capsys, "evaluate", folder / "m", folder / "noise.npz")[1]
    assert "noise: 40 cases, 28 of them seen in training" in out
    assert "not seen in training" in out
    out = run(capsys, "evaluate", folder / "m", folder / "noise.npz", "--split", "test")[1]
    assert "12 cases, none seen in training" in out
    out = run(capsys, "evaluate", folder / "m", folder / "noise.npz", "--split", "train")[1]
    assert "28 cases, all seen in training: this says little about new series" in " ".join(out.split())


def test_what_is_not_known_is_said(capsys, folder, tmp_path):
    with np.load(folder / "noise.npz") as arrays:
        X, y = arrays["X"], arrays["y"]
    AttentionClassifier(epochs=1, random_state=0).fit(X, y.astype(float)).save(tmp_path / "m")
    code, out, _ = run(capsys, "evaluate", tmp_path / "m", folder / "noise.npz")
    assert code == 0
    assert "which of them were trained on is not known" in out
    found = json.loads(run(capsys, "evaluate", tmp_path / "m", folder / "noise.npz", "--json")[1])
    assert found["seen_in_training"] is None
    assert found["labels"] == ["1.0", "2.0"]


def test_labels_of_other_classes_are_refused(capsys, folder, tmp_path):
    np.savez(tmp_path / "d.npz", X=np.zeros((2, 1, 8)), y=["1", "three"])
    code, _, err = run(capsys, "evaluate", folder / "m", tmp_path / "d.npz")
    assert code == 2
    assert "test labels three never occur in the train part, whose labels are 1, 2" in err
    np.savez(tmp_path / "d.npz", X=np.zeros((2, 1, 8)))
    code, _, err = run(capsys, "evaluate", folder / "m", tmp_path / "d.npz")
    assert code == 2
    assert (
        "has no labels; testing needs them: in a .csv file a column label, or the one that --label names"
        in err
    )
    assert err.rstrip().endswith("predict needs none")
