from __future__ import annotations

import numpy as np
import pytest
from aeon.datasets import load_from_ts_file

from primaldual.data import Reading, load
from primaldual.data.archive import embedded_folder
from primaldual.data.ts_series import read_series
from primaldual.errors import DataError

HEADER = "# a remark\n%another\n@problemName toy\n@timeStamps {times}\n@univariate {one}\n@classLabel {labels}\n@data\n"


def write(tmp_path, body, times="false", one="true", labels="true a b", more=""):
    path = tmp_path / "toy.ts"
    path.write_text(more + HEADER.format(times=times, one=one, labels=labels) + body, encoding="utf-8")
    return path


@pytest.mark.parametrize("seconds", [("0", "1"), ("-0.5", "1.5"), ("2020-01-31 23:59:59", "2020-02-01")])
def test_timed_values_keep_their_sign_and_fraction(tmp_path, seconds):
    first, second = seconds
    body = f"({first},-1.5),({second},2.0):a\n( {first} , 1.5e-3 ) , ({second},?):b\n"
    found = load(write(tmp_path, body, times="true"), "all")
    np.testing.assert_array_equal(found.X, [[[-1.5, 2.0]], [[1.5e-3, np.nan]]])
    assert found.y.tolist() == ["a", "b"]


def test_timed_channels_are_told_apart_from_times_of_day(tmp_path):
    body = (
        "(2020-01-01 10:00:00,1),(2020-01-01 10:00:01,2):(2020-01-01 10:00:00,3),(2020-01-01 10:00:01,4):b\n"
    )
    found = load(write(tmp_path, body, times="true", one="false"), "all")
    assert found.X.tolist() == [[[1, 2], [3, 4]]]


@pytest.mark.parametrize("labels", ["A a", "banana EPILEPSY", "nan none", "1.0 2.0", "été ETE"])
def test_labels_are_never_changed(tmp_path, labels):
    first, second = labels.split()
    path = write(tmp_path, f"1,2:{first}\n2,3: {second} \n", labels=f"true {labels}")
    assert load(path, "all").y.tolist() == [first, second]


def test_another_spelling_of_a_number_is_the_class_of_the_header(tmp_path):
    assert load(write(tmp_path, "1,2:1.0\n2,3:2\n", labels="true 1 2"), "all").y.tolist() == ["1", "2"]


BAD = {
    "no label": (
        {"body": "1,2:3,4:a\n2,3:4,5:6,7\n", "one": "false"},
        "line 9: label '6,7' is none of the classes",
    ),
    "unknown": ({"body": "1,2:c\n"}, "line 8: label 'c' is none of the classes in the header, a, b$"),
    "case": ({"body": "1,2:A\n"}, "did you mean a?"),
    "empty label": ({"body": "1,2:a\n1,2:\n"}, "line 9: the label is missing"),
    "label alone": ({"body": "a\n"}, "line 8: there is no series before the label"),
    "text": ({"body": "1,two:a\n"}, "line 8: a value is 'two'; a number or . is needed"),
    "underscore": ({"body": "1,2_0:a\n"}, "line 8: a value is '2_0'"),
    "hole": ({"body": "1,,2:a\n"}, "line 8: a value is ''"),
    "channels": ({"body": "1,2:3,4:a\n"}, "2 channels; the header says @univariate true"),
    "dimensions": (
        {"body": "1,2:a\n", "more": "@dimensions 3\n"},
        "1 channels; the header says @dimensions 3",
    ),
    "fewer": ({"body": "1,2:3,4:a\n1,2:a\n", "one": "false"}, "line 9: 1 channels; the first series has 2"),
    "ragged": ({"body": "1,2:3:a\n", "one": "false"}, "line 8: channels have different lengths, 1, 2"),
    "length": ({"body": "1,2:a\n", "more": "@seriesLength 3\n"}, "length 2; the header says @seriesLength 3"),
    "unequal": ({"body": "1,2:a\n1:b\n", "more": "@equalLength true\n"}, "says @equalLength true"),
    "not timed": ({"body": "1,2:a\n", "times": "true"}, r"'1,2' is not a list of \(time,value\)"),
    "time": ({"body": "(now,1):a\n", "times": "true"}, "a time is 'now'; a number or an ISO date"),
    "order": ({"body": "(1,1),(1,2):a\n", "times": "true"}, "times do not increase"),
    "two clocks": (
        {"body": "(1,1):(2,1):a\n", "times": "true", "one": "false"},
        "channels have different times",
    ),
    "no names": ({"body": "1,2:a\n", "labels": "true"}, "@classLabel true must name the classes"),
    "boolean": (
        {"body": "1,2:a\n", "times": "perhaps"},
        "line 4: @timestamps is perhaps; accepted: true, false",
    ),
    "count": ({"body": "1:a\n", "more": "@dimensions two\n"}, "@dimensions is two; a whole number is needed"),
    "twice": ({"body": "1:a\n", "more": "@univariate false\n"}, "@univariate stands twice"),
    "no tag": ({"body": "1:a\n", "more": "@ \n"}, "the header holds '@'"),
    "stray": ({"body": "1:a\n", "more": "1,2\n"}, "the header holds '1,2'"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_does_not_keep_to_the_header_is_named_with_its_line(tmp_path, name):
    given, message = BAD[name]
    if "more" in given:
        given = {**given, "more": given["more"]}
        message = message.replace("line 8", "line 9")
    with pytest.raises(DataError, match=message) as caught:
        load(write(tmp_path, **given), "all")
    assert "\n" not in str(caught.value)


def test_a_header_without_a_word_on_labels_is_refused(tmp_path):
    (tmp_path / "toy.ts").write_text("@data\n1,2:a\n")
    with pytest.raises(DataError, match="needs @classLabel true and the names"):
        load(tmp_path / "toy.ts", "all")


def test_labels_that_are_not_used_may_be_missing(tmp_path):
    path = write(tmp_path, "1,2:?\n2,3:a\n3,4:\n")
    found = load(path, "all", reading=Reading(labelled=False))
    assert found.y is None
    assert found.X[:, 0].tolist() == [[1, 2], [2, 3], [3, 4]]
    assert load(write(tmp_path, "1,2\n2,3\n", labels="false"), "all").X.shape == (2, 1, 2)


@pytest.mark.parametrize(
    "name", ["BasicMotions", "JapaneseVowels", "PickupGestureWiimoteZ", "Covid3Month", "UnitTest"]
)
def test_values_are_those_of_aeon(name):
    for path in sorted((embedded_folder() / name).glob("*.ts")):
        expected, labels = load_from_ts_file(str(path))
        header, series, found = read_series(path)
        assert len(series) == len(expected)
        for one, other in zip(series, expected, strict=True):
            np.testing.assert_array_equal(one, other)
        if header.target:
            assert [float(label) for label in found] == labels.tolist()
        else:
            assert [label.lower() for label in found] == labels.tolist()
