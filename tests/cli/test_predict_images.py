from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest

from primaldual.cli import main
from primaldual.images import ImageClassifier
from tests.cli.helpers import run
from tests.images.helpers import pixels, write_images


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shades")
    write_images(folder / "data", count=16)
    words = ["train", "images", "--data", str(folder / "data"), "--out", str(folder / "m"), "--epochs", "1"]
    main([*words, "--no-corruptions", "--json"])
    return folder / "m"


def test_a_folder_gives_a_table_of_classes_and_probabilities(capsys, model, tmp_path):
    folder = write_images(tmp_path / "new", count=4, size=12, seed=2)
    capsys.readouterr()
    code, out, err = run(capsys, "predict", model, folder)
    assert (code, err) == (0, "")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["case"] for row in rows] == ["bright/1.png", "bright/3.png", "dark/0.png", "dark/2.png"]
    classifier = ImageClassifier.load(model)
    files = [folder / row["case"] for row in rows]
    assert [row["predicted"] for row in rows] == classifier.predict(files).tolist()
    found = [[float(row[f"probability_{name}"]) for name in classifier.classes] for row in rows]
    np.testing.assert_allclose(found, classifier.predict_proba(files), atol=1e-6)
    code, out, _ = run(capsys, "predict", model, files[0], "--out", tmp_path / "one.json")
    assert (code, out) == (0, f"1 predictions: {tmp_path / 'one.json'}\n")
    [one] = json.loads((tmp_path / "one.json").read_text())
    assert (one["case"], one["predicted"]) == ("1.png", rows[0]["predicted"])


def test_arrays_are_counted(capsys, model, tmp_path):
    np.savez(tmp_path / "new.npz", X=pixels(3)[0])
    code, out, _ = run(capsys, "predict", model, tmp_path / "new.npz", "--json")
    assert code == 0
    assert [row["case"] for row in json.loads(out)] == [0, 1, 2]


def test_errors_are_one_line(capsys, model, tmp_path):
    write_images(tmp_path / "new", count=2)
    (tmp_path / "new" / "broken.png").write_text("no image")
    for words, message in (
        ((model, tmp_path / "new"), "broken.png is not a readable image"),
        ((model, tmp_path / "now"), "there is no such folder or file; did you mean new"),
        ((model.parent / "n", tmp_path / "new"), "there is no such folder"),
        (
            (model, tmp_path / "new", "--split", "test"),
            "--split is for models of series; the model classifies",
        ),
        ((model, tmp_path / "new", "--channels", "red"), "--channels is for models of series"),
    ):
        code, out, err = run(capsys, "predict", *words)
        assert (code, out) == (2, "")
        assert message in err
        assert err.count("\n") == 1
