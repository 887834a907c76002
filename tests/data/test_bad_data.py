from __future__ import annotations

import numpy as np
import pytest

from primaldual.data import load, load_pair
from primaldual.errors import ArgumentError, DataError, PrimalDualError

BAD_FILES = {
    "empty.csv": ("", "header is empty"),
    "no_channel.csv": ("case,time,label\na,0,x\n", "at least one channel"),
    "twice.csv": ("case,time,v,v\na,0,1,2\n", "each column needs its own name"),
    "ragged.csv": ("case,time,v\na,0\n", "line 2: 2 cells"),
    "text.csv": ("case,time,v\na,0,high\n", "line 2: v is 'high'"),
    "repeat.csv": ("case,time,v\na,0,1\na,0,2\n", "line 3: time '0' occurs twice in case 'a'"),
    "labels.csv": ("case,time,v,label\na,0,1,x\na,1,1,y\n", "line 3: label and split"),
    "split.csv": ("case,time,v,label,split\na,0,1,x,dev\n", "train or test"),
    "nolabel.csv": ("case,time,v,label\na,0,1,x\nb,0,1,\n", "label of case 1 is missing"),
    "nan.csv": ("case,time,v,label\na,0,1,x\nb,0,1,NaN\n", "label of case 1 is missing"),
    "real.csv": ("case,time,v,label\na,0,inf,x\n", "infinite"),
    "header_only.csv": ("case,time,v,label\n", "no cases"),
    "bad.npz": ("this is not a zip file", "cannot be read as an .npz"),
    "empty.ts": ("", "no cases"),
    "target.ts": ("@problemName x\n@targetLabel true\n@data\n1,2,3:0.5\n", "regression target"),
    "toy_TRAIN.ts": ("@problemName x\n@classLabel true a b\n@data\n1,2:a\n2,3:b\n", "test part is missing"),
    "notes.txt": ("hello", "accepted: .ts, .npz, .csv"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_malformed_files_give_one_clear_line(tmp_path, name):
    text, message = BAD_FILES[name]
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        load(path, "train")
    assert "\n" not in str(caught.value)


BAD_ARRAYS = {
    "no X": ({"Z": np.zeros(3)}, "needed: X and y"),
    "text": ({"X": np.array([["a", "b"]]), "y": [0]}, "must be numbers"),
    "four axes": ({"X": np.zeros((2, 2, 2, 2)), "y": [0, 1]}, "must be numbers of shape"),
    "labels": ({"X": np.zeros((3, 1, 4)), "y": [0, 1]}, "3 cases but 2 labels"),
    "nan label": ({"X": np.zeros((2, 1, 4)), "y": [0.0, np.nan]}, "label of case 1 is NaN"),
    "real label": ({"X": np.zeros((2, 1, 4)), "y": [0.0, 0.5]}, "real number"),
    "infinite label": ({"X": np.zeros((2, 1, 4)), "y": [0.0, np.inf]}, "real number"),
    "no time": ({"X": np.zeros((2, 1, 0)), "y": [0, 1]}, "case 0 is empty"),
    "no cases": ({"X": np.zeros((0, 1, 4)), "y": np.zeros(0, int)}, "no cases"),
    "lengths": ({"X": np.zeros((2, 1, 4)), "y": [0, 1], "lengths": [4, 9]}, "between 1 and 4"),
    "one class": ({"X": np.zeros((4, 1, 4)), "y": [1, 1, 1, 1]}, "two classes"),
    "lonely class": ({"X": np.zeros((3, 1, 4)), "y": [1, 1, 2]}, "class '2' has one case"),
    "pickle": ({"X": np.array([{}], dtype=object), "y": [1]}, "cannot be read as an .npz"),
}


@pytest.mark.parametrize("name", BAD_ARRAYS)
def test_malformed_arrays_give_one_clear_line(tmp_path, name):
    arrays, message = BAD_ARRAYS[name]
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(DataError, match=message):
        load_pair(tmp_path / "bad.npz")


def test_unseen_test_labels_are_named(tmp_path):
    values = np.zeros((2, 1, 3))
    np.savez(tmp_path / "new.npz", X_train=values, y_train=["a", "b"], X_test=values, y_test=["a", "c"])
    with pytest.raises(DataError, match="test labels c never occur"):
        load_pair(tmp_path / "new.npz")


def test_missing_things_are_named(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        load(tmp_path / "none.csv")
    with pytest.raises(DataError, match=r"JapaneseVowles.*did you mean JapaneseVowels"):
        load("JapaneseVowles", data_dir=tmp_path)
    with pytest.raises(DataError, match="not a folder"):
        load("JapaneseVowels", data_dir=tmp_path / "nowhere")
    with pytest.raises(ArgumentError, match="train, test, all"):
        load("JapaneseVowels", "validation")


def test_failed_download_is_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    def refuse(name, extract_path):
        raise ValueError("Could not download files:\n no route to host")

    monkeypatch.setattr("aeon.datasets.load_classification", refuse)
    with pytest.raises(PrimalDualError, match="Handwriting_TRAIN") as caught:
        load("Handwriting", data_dir=tmp_path)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
