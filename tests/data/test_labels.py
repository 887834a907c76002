from __future__ import annotations

import numpy as np
import pytest

from primaldual.data import load, load_pair
from primaldual.data.labels import regression_hint
from primaldual.errors import DataError

SPELLINGS = {
    "whole numbers": np.array([1, 2]),
    "small whole numbers": np.array([1, 2], np.uint8),
    "real numbers": np.array([1.0, 2.0]),
    "text": np.array(["1", "2"]),
    "text with blanks": np.array([" 1", "2 "]),
    "bytes": np.array([b"1", b"2"]),
}


@pytest.mark.parametrize("kind", SPELLINGS)
def test_a_class_is_the_same_class_in_every_type(tmp_path, kind):
    np.savez(tmp_path / "d.npz", X=np.zeros((2, 3)), y=SPELLINGS[kind])
    assert load(tmp_path / "d.npz", "all").y.tolist() == ["1", "2"]


def test_bytes_and_dates_are_text(tmp_path):
    np.savez(tmp_path / "d.npz", X=np.zeros((2, 3)), y=np.array(["été".encode(), b"dog"]))
    assert load(tmp_path / "d.npz", "all").y.tolist() == ["été", "dog"]
    np.savez(tmp_path / "d.npz", X=np.zeros((2, 3)), y=np.array(["2020-01", "2021-12"], "M8[M]"))
    assert load(tmp_path / "d.npz", "all").y.tolist() == ["2020-01", "2021-12"]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([b"\xff", b"a"]), "label of case 0 is .*bytes that are not UTF-8"),
        (np.array(["NaT", "2020"], "M8[Y]"), "label of case 0 is missing: 'NaT' is no name of a class"),
        (
            np.array(["None", "mild"]),
            "label of case 0 is missing: 'None' is no name of a class; every case needs",
        ),
        (np.array([1 + 1j, 2]), "label of case 0 is .*whole numbers or text"),
        (np.array([b"", b"a"]), "label of case 0 is missing; every case needs"),
    ],
)
def test_labels_that_are_none_are_refused(tmp_path, labels, message):
    np.savez(tmp_path / "d.npz", X=np.zeros((2, 3)), y=labels)
    with pytest.raises(DataError, match=message):
        load(tmp_path / "d.npz", "all")


def test_a_class_has_one_spelling_in_a_file_and_in_both_parts(tmp_path):
    path = tmp_path / "d.csv"
    path.write_text(
        "case,time,label,x,split\na,0,1.0,0,train\nb,0,2,0,train\nc,0,1,0,train\nd,0,2.0,0,test\n"
    )
    train, test = load_pair(path)
    assert (train.y.tolist(), test.y.tolist()) == (["1.0", "2", "1.0"], ["2"])
    assert load(path, "all").class_names == ("1.0", "2")


def test_codes_with_leading_zeros_and_letters_in_another_case_are_classes_of_their_own(tmp_path):
    np.savez(tmp_path / "d.npz", X=np.zeros((4, 3)), y=["007", "7", "A", "a"])
    assert load(tmp_path / "d.npz", "all").y.tolist() == ["007", "7", "A", "a"]


@pytest.mark.parametrize("ending", [".csv", ".npz"])
def test_numbers_to_predict_are_sent_to_the_regressor(tmp_path, ending):
    targets = np.arange(6) / 4 - 0.3
    if ending == ".npz":
        np.savez(tmp_path / "d.npz", X=np.zeros((6, 3)), y=targets)
    else:
        lines = [f"{target},0,0,0" for target in targets]
        (tmp_path / "d.csv").write_text("\n".join(["label,t0,t1,t2", *lines]))
    with pytest.raises(DataError, match="AttentionRegressor, in Python, predicts numbers"):
        load(tmp_path / f"d{ending}")


def test_classes_that_are_numbers_are_no_numbers_to_predict():
    assert regression_hint(["a", "b", "c"]) == ""
    assert regression_hint([*"12121212", "1.0", "7"]) == ""
    assert regression_hint(["1", "2", "3", "4"]) != ""
