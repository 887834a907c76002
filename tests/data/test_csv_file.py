from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from primaldual.data import Reading, load
from primaldual.errors import ArgumentError, DataError

FRAME = pd.DataFrame(
    {
        "case": ["u", "u", "v", "v"],
        "time": [0, 1, 0, 1],
        "label": list("aabb"),
        "x": [1.5, 2, 3, 4],
        "y": [5, 6, 7, 8.5],
    }
)
SERIES = [[[1.5, 2], [5, 6]], [[3, 4], [7, 8.5]]]


def same(found):
    assert found.X.tolist() == SERIES
    assert (found.y.tolist(), found.channel_names, found.case_names) == (["a", "b"], ("x", "y"), ("u", "v"))


def test_channels_and_cases_have_the_names_of_the_file(tmp_path):
    FRAME.to_csv(tmp_path / "d.csv", index=False)
    found = load(tmp_path / "d.csv", "all")
    same(found)
    assert found.take([1]).case_names == ("v",)
    assert found.fingerprint() != load_frame(tmp_path, FRAME.rename(columns={"x": "z"})).fingerprint()


def load_frame(tmp_path, frame, **options):
    frame.to_csv(tmp_path / "f.csv", **{"index": False, **options})
    return load(tmp_path / "f.csv", "all")


WRITERS = {
    "index": {"index": True},
    "semicolons": {"sep": ";"},
    "decimal commas": {"sep": ";", "decimal": ","},
    "tabs": {"sep": "\t"},
    "Windows": {"lineterminator": "\r\n", "encoding": "utf-8-sig"},
    "quotes": {"quoting": 1},
}


@pytest.mark.parametrize("name", WRITERS)
def test_what_pandas_writes_is_read(tmp_path, name):
    same(load_frame(tmp_path, FRAME, **WRITERS[name]))


def test_an_index_that_was_read_and_written_again_is_no_channel(tmp_path):
    FRAME.to_csv(tmp_path / "d.csv")
    same(load_frame(tmp_path, pd.read_csv(tmp_path / "d.csv")))
    same(load_frame(tmp_path, FRAME.reset_index()))


def test_trailing_commas_and_blank_rows_say_nothing(tmp_path):
    text = FRAME.to_csv(index=False)
    for ending in ("{},", "{},,"):
        lines = [ending.format(line) for line in text.splitlines()]
        (tmp_path / "d.csv").write_text("\n".join([*lines, ",,,,", "", ""]))
        same(load(tmp_path / "d.csv", "all"))
    head, *rows = text.splitlines()
    (tmp_path / "d.csv").write_text("\n".join([head, *(row + "," for row in rows)]))
    same(load(tmp_path / "d.csv", "all"))


def test_capitals_and_dates_are_read(tmp_path):
    frame = FRAME.assign(time=["2024-02-29", "2024-03-01"] * 2).rename(columns=str.title)
    found = load_frame(tmp_path, frame)
    assert found.X.tolist() == SERIES
    assert found.channel_names == ("X", "Y")


@pytest.mark.parametrize("missing", ["", "NaN", "NA", "?", "null"])
def test_words_for_a_missing_value(tmp_path, missing):
    found = load_frame(tmp_path, FRAME.astype(object).assign(x=[1.5, missing, 3, 4]))
    np.testing.assert_array_equal(found.X[0], [[1.5, np.nan], [5, 6]])


def test_columns_by_other_names(tmp_path):
    frame = FRAME.rename(columns={"case": "patient", "time": "second", "label": "illness"}).assign(
        note="free text"
    )
    frame.to_csv(tmp_path / "d.csv", index=False)
    reading = Reading(case="patient", time="second", label="illness", channels=("y", "x"))
    found = load(tmp_path / "d.csv", "all", reading=reading)
    assert found.channel_names == ("y", "x")
    assert found.with_channels(("x", "y")).X.tolist() == SERIES
    with pytest.raises(DataError, match=r"there is no column 'patients' for case; .*did you mean patient"):
        load(tmp_path / "d.csv", "all", reading=Reading(case="patients", time="second"))
    with pytest.raises(DataError, match="there is no channel z; accepted: illness, x, y, note"):
        load(tmp_path / "d.csv", "all", reading=Reading(case="patient", time="second", channels=("z",)))
    with pytest.raises(DataError, match="must be different columns"):
        load(tmp_path / "d.csv", "all", reading=Reading(case="patient", time="patient"))


def test_columns_are_named_for_csv_files_only(tmp_path):
    np.savez(tmp_path / "d.npz", X=np.zeros((2, 3)))
    for source in (tmp_path / "d.npz", "JapaneseVowels"):
        with pytest.raises(
            ArgumentError, match=r"reading names columns \(case, channels\), which only a \.csv file has"
        ):
            load(source, "all", reading=Reading(case="patient", channels=("x",)))


def test_labels_that_are_not_used_may_be_missing(tmp_path):
    FRAME.assign(label=["a", "", "", ""]).to_csv(tmp_path / "d.csv", index=False)
    found = load(tmp_path / "d.csv", "all", reading=Reading(labelled=False))
    assert found.y is None
    assert found.channel_names == ("x", "y")
    assert found.X.tolist() == SERIES


def test_channels_are_matched_by_name(tmp_path):
    found = load_frame(tmp_path, FRAME[["case", "time", "y", "x", "label"]])
    assert found.channel_names == ("y", "x")
    assert found.with_channels(("x", "y")).X.tolist() == SERIES
    with pytest.raises(DataError, match="channels needed are x, z; the data lacks z and has y besides"):
        found.with_channels(("x", "z"))


def test_a_row_for_each_case(tmp_path):
    (tmp_path / "d.csv").write_text("case,label,t0,t1,t2\nu,a,1,2,3\nv,b,4,,6\n")
    found = load(tmp_path / "d.csv", "all")
    np.testing.assert_array_equal(found.X, [[[1, 2, 3]], [[4, np.nan, 6]]])
    assert (found.case_names, found.channel_names, found.y.tolist()) == (("u", "v"), None, ["a", "b"])


def test_a_row_for_each_case_of_several_channels_in_any_order(tmp_path):
    (tmp_path / "d.csv").write_text("x_2,x_10,y_2,y_10\n1,2,3,4\n")
    with pytest.raises(DataError, match="a row for each case with numbered columns"):
        load(tmp_path / "d.csv", "all")
    names = [f"{name}_{count}" for count in range(11) for name in ("y", "x")]
    (tmp_path / "d.csv").write_text(
        ",".join(sorted(names)) + "\n" + ",".join(str(k) for k in range(22)) + "\n"
    )
    found = load(tmp_path / "d.csv", "all")
    assert found.channel_names == ("x", "y")
    assert found.case_names is None
    assert found.X[0, 0].tolist() == [0, 1, 3, 4, 5, 6, 7, 8, 9, 10, 2]


BAD = {
    "no case": ("time,label,x\n0,a,1\n", "case is not among them"),
    "no time": ("case,x,y\nu,1,2\nu,1,3\n", "time is not among them"),
    "whose time": ("case,t0,t1\nu,1,2\nu,1,3\n", "line 3: case 'u' is in line 2 too. Which column orders"),
    "nameless": ("case,time,x,\nu,0,1,7\nv,0,1,8\n", "column 4 has values but no name"),
    "no index": ("Unnamed: 0,case,time,x\n7,u,0,1\n", "column 1 has values but no name"),
    "thousands": ("case;time;x\nu;0;1,5\nv;0;1.000,5\n", "line 3: x is '1.000,5'"),
    "tab commas": (
        "case\ttime\tx\nu\t0\t1,5\n",
        "line 2: x is '1,5'; a number is needed; is a decimal comma",
    ),
    "spaces": ("case time x\nu 0 1\n", "the columns are case time x; case and time are not among them"),
    "a label": (
        "case,time,x,ill\nu,0,1,yes\n",
        "line 2: ill is 'yes'; a number is needed; if the column is not a channel",
    ),
    "date": ("case,time,x\nu,tomorrow,1\n", "line 2: time is 'tomorrow'; a number or an ISO date"),
    "endless": ("case,time,x\nu,inf,1\n", "line 2: time is 'inf'"),
    "no name": ("case,time,x\n,0,1\n", "line 2: the case is empty"),
    "quoted line": ('case,time,x\n"u\nv",0,1\nw,0,x\n', "line 4: x is 'x'"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_read_is_refused_with_a_hint(tmp_path, name):
    text, message = BAD[name]
    (tmp_path / "d.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        load(tmp_path / "d.csv", "all")


def test_other_encodings_are_refused_with_a_hint(tmp_path):
    for encoding in ("cp1252", "utf-16"):
        (tmp_path / "d.csv").write_text("case,time,größe\nu,0,1\n", encoding=encoding)
        with pytest.raises(DataError, match=r"is not UTF-8 text .*save it as CSV UTF-8"):
            load(tmp_path / "d.csv", "all")
