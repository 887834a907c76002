from __future__ import annotations

import csv

import pytest

from primaldual.errors import DataError
from primaldual.sequences.text_tables import read_text_tables
from tests.sequences.helpers import write_table

ROWS = [["id", "text", "label"], *([number, f"word {number}, é", "ab"[number % 2]] for number in range(10))]


def test_a_table_gives_a_fifth_to_the_test_part(tmp_path):
    found = read_text_tables(write_table(tmp_path / "t.csv", ROWS), ("text", "label"))
    assert found.classes == ("a", "b")
    assert found.counts == {"training": 8, "test": 2}
    assert sorted(found.labels) == [0] * 5 + [1] * 5
    assert bytes(found.tokens[: found.lengths[0, 0]]).decode() in {row[1] for row in ROWS}


def test_a_folder_of_tables_has_parts_and_pairs_have_two_texts(tmp_path):
    rows = [["label", "one", "two"], ["yes", "a\nb", "ccc"], ["no", 'd"', "e\tf"]]
    for part in ("train", "val", "test"):
        write_table(tmp_path / f"{part}.tsv", rows, "\t")
    found = read_text_tables(tmp_path, ("one", "two", "label"))
    assert found.counts == {"training": 2, "validation": 2, "test": 2}
    assert found.lengths[:2].tolist() == [[3, 3], [2, 3]]
    assert bytes(found.tokens[:11]) == b'a\nbcccd"e\tf'
    assert found.labels[:2].tolist() == [1, 0]


def test_long_texts_are_read_and_the_limit_of_csv_is_as_before(tmp_path):
    before = csv.field_size_limit()
    rows = [["text", "label"], ["x" * 200_000, "a"], ["y", "b"], ["z", "b"]]
    assert read_text_tables(write_table(tmp_path / "t.csv", rows), ("text", "label")).lengths.max() == 200_000
    assert csv.field_size_limit() == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"text,lebel\nx,1\n", "has no column 'label'; it has text, lebel; did you mean lebel"),
        (b"", "has no column 'text'; it has none"),
        (b"text,label\nx\n", "line 2: 1 cells; the first line names 2 columns"),
        (b"text,label\nx,1\n,2\n", "line 3: a text or label is missing"),
        (b"text,label\nx, \n", "line 2: a text or label is missing"),
        (b"text,label\n\xff,1\n", "not UTF-8 text .byte 11"),
        (b'text,label\n"x,1\n', "cannot be read as a table"),
        (b"text,label\n", "the training part holds no texts"),
        (b"text,label\nx,1\ny,2\n", "got 2 cases of 2 classes"),
    ],
)
def test_what_is_wrong_with_a_table_is_said(tmp_path, content, message):
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_text_tables(path, ("text", "label"))


def test_other_files_are_refused(tmp_path):
    (tmp_path / "t.txt").touch()
    with pytest.raises(DataError, match=r"has ending .txt; accepted: .csv, .tsv"):
        read_text_tables(tmp_path / "t.txt", ("text", "label"))
    with pytest.raises(DataError, match="must hold train and test tables"):
        read_text_tables(tmp_path, ("text", "label"))
