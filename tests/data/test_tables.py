from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from primaldual.data import load_table
from primaldual.errors import ArgumentError, DataError


@pytest.mark.parametrize(
    ("name", "features", "targets", "cases"),
    [("diabetes", 10, 1, 442), ("linnerud", 3, 3, 20), ("Covid3Month", 84, 1, 201)],
)
def test_tables_that_need_no_network(name, features, targets, cases):
    table = load_table(name)
    assert table.X.shape == (cases, features) == (cases, len(table.features))
    assert table.Y.shape == (cases, targets) == (cases, len(table.targets))
    assert table.X.dtype == table.Y.dtype == np.float64
    assert table.name == name


def test_csv_with_and_without_names(tmp_path):
    numbers = np.random.default_rng(0).normal(size=(6, 4))
    body = "\n".join(",".join(map(repr, row)) for row in numbers.tolist())
    for file, first in (("named.csv", "a, b,y,z\n"), ("bare.csv", "")):
        (tmp_path / file).write_text(first + body + "\n\n")
        table = load_table(tmp_path / file, targets=2)
        assert (np.hstack([table.X, table.Y]) == numbers).all()
        assert table.Y.shape == (6, 2)
    assert table.targets == ("column 3", "column 4")
    named = load_table(str(tmp_path / "named.csv"))
    assert (named.name, named.features, named.targets) == ("named", ("a", "b", "y"), ("z",))


@pytest.mark.parametrize(
    "text",
    [
        "x,y,z\n0.5,1.5,2.5\n-3.5,4.5,5e3\n",
        "x,y,z,\n0.5,1.5,2.5,\n-3.5,4.5,5e3,\n",
        ",x,y,z\n0,0.5,1.5,2.5\n1,-3.5,4.5,5e3\n",
        "Unnamed: 0,x,y,z\n0,0.5,1.5,2.5\n1,-3.5,4.5,5e3\n",
        "x;y;z\n0,5;1,5;2,5\n-3,5;4,5;5e3\n",
        "sep=;\nx;y;z\n0.5;1.5;2.5\n-3.5;4.5;5e3\n",
        "x\ty\tz\n0.5\t1.5\t2.5\n\n-3.5\t4.5\t5000\n\t\t\n",
        "\ufeffx|y|z\r\n0.5|1.5|2.5\r\n-3.5|4.5|5e3\r\n",
    ],
)
def test_every_program_writes_the_same_table(tmp_path, text):
    (tmp_path / "t.csv").write_text(text, encoding="utf-8", newline="")
    table = load_table(tmp_path / "t.csv")
    assert table.X.tolist() == [[0.5, 1.5], [-3.5, 4.5]]
    assert table.Y.tolist() == [[2.5], [5000]]
    assert (table.features, table.targets) == (("x", "y"), ("z",))


def test_the_index_of_a_table_without_names_is_left_out(tmp_path):
    pd.DataFrame(np.array([[0.5, 1.5], [2.5, 3.5]])).to_csv(tmp_path / "t.csv")
    table = load_table(tmp_path / "t.csv")
    assert table.X.tolist() == [[0.5], [2.5]]
    assert table.targets == ("1",)


def test_targets_count_columns_of_a_file_only(tmp_path):
    with pytest.raises(ArgumentError, match=r"linnerud has its own: Weight, Waist, Pulse"):
        load_table("linnerud", targets=2)


def write_series(folder, name, *lines, label="@targetlabel true"):
    (folder / name).mkdir()
    header = f"@problemname {name}\n@timestamps false\n@missing false\n@univariate true\n@equallength false\n"
    (folder / name / f"{name}_TRAIN.ts").write_text(header + label + "\n@data\n" + "\n".join(lines) + "\n")


def test_series_of_a_folder_are_flattened_and_must_be_equal(tmp_path):
    write_series(tmp_path, "Mine", "1,2,3:0.5", "4,5,6:1.5")
    table = load_table("Mine", tmp_path)
    assert table.X.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert table.Y.tolist() == [[0.5], [1.5]]
    write_series(tmp_path, "Ragged", "1,2,3:0.5", "4,5:1.5")
    with pytest.raises(DataError, match="2 different shapes"):
        load_table("Ragged", tmp_path)
    write_series(tmp_path, "Classes", "1,2:a", "4,5:b", label="@classlabel true a b")
    with pytest.raises(DataError, match="no regression target"):
        load_table("Classes", tmp_path)
    write_series(tmp_path, "Broken", "1,2:x")
    with pytest.raises(DataError, match="a target is 'x'"):
        load_table("Broken", tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no cases"),
        ("a,b\n", "holds no cases"),
        ("a,b\n1,2\n3,x\n", "line 3: b is 'x'"),
        ("a,b\n1,\n", "line 2: b is ''"),
        ("1,2\n3,inf\n", "line 2: column 2 is 'inf'"),
        ("1,2\n3\n", "line 2: 1 cells"),
        ("1\n2\n", "has 1 column; 1 of them"),
        ("a,1\n1,2\n", "line 1: column 1 is 'a'"),
        ("0,1,2\n0.5,1.5,2.5\n", "line 1: 0,1,2 may be names of columns or numbers"),
        ("x,y\n1,5,2\n", "line 2: 3 cells; the header has 2 columns; decimal commas need"),
        ('x,y\n"1,5",2\n', "line 2: x is '1,5'; a number is needed; is a decimal comma meant"),
    ],
)
def test_bad_csv_files_name_the_line(tmp_path, text, message):
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        load_table(tmp_path / "bad.csv")


def test_what_is_not_there(tmp_path):
    with pytest.raises(DataError, match="accepted: diabetes, linnerud, Covid3Month"):
        load_table("diabets")
    with pytest.raises(DataError, match="does not exist"):
        load_table(tmp_path / "none.csv")
    with pytest.raises(DataError, match="is not a folder"):
        load_table("Mine", tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"accepted: \.csv"):
        load_table(tmp_path / "table.txt")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DataError, match="cannot be read"):
        load_table(tmp_path / "folder.csv")
    with pytest.raises(ArgumentError, match="targets must be 1 or more"):
        load_table("diabetes", targets=0)
