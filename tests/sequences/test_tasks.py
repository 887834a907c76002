from __future__ import annotations

import pytest

from primaldual.errors import ArgumentError, DataError
from primaldual.sequences import RunSettings, parts_of
from tests.sequences.helpers import write_table, write_texts


def test_generated_parts_have_an_eighth_of_the_cases(tmp_path):
    parts = parts_of(RunSettings("listops", data_dir=tmp_path, max_length=64, cases=80))
    assert [len(part) for part in (parts.training, parts.validation, parts.test)] == [80, 10, 10]
    parts = parts_of(RunSettings("pathfinder", data_dir=tmp_path, difficulty="easy", cases=8))
    assert [len(part) for part in (parts.training, parts.validation, parts.test)] == [8, 2, 2]


def test_texts_and_pairs_are_read(tmp_path):
    write_texts(tmp_path / "texts", count=10)
    parts = parts_of(RunSettings("text", data=tmp_path / "texts", data_dir=tmp_path / "kept"))
    assert (len(parts.training), len(parts.test), parts.training.paired) == (8, 2, False)
    rows = [["text1", "text2", "label"], *(["x", "y", str(number % 2)] for number in range(10))]
    table = write_table(tmp_path / "pairs.csv", rows)
    parts = parts_of(RunSettings("retrieval", data=table, data_dir=tmp_path / "kept"))
    assert (len(parts.training), parts.training.paired) == (8, True)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"task": "listop"}, "task must be one of listops, .*; got 'listop'; did you mean listops"),
        ({"task": "listops", "difficulty": "easy"}, "difficulty is for pathfinder; task listops got 'easy'"),
        ({"task": "pixels", "truncate": True}, "truncate is for text, retrieval; task pixels got True"),
        ({"task": "text"}, "data must be given for text, which is not generated; got None"),
        ({"task": "retrieval", "columns": ("a", "b")}, "columns must be 3 different names, of both texts"),
        (
            {"task": "text", "columns": ("a", "a")},
            "columns must be 2 different names, of the text and the label",
        ),
    ],
)
def test_settings_that_a_task_does_not_have_are_refused(tmp_path, given, message):
    if "columns" in given:
        given = {**given, "data": tmp_path}
    with pytest.raises(ArgumentError, match=message):
        parts_of(RunSettings(**given, data_dir=tmp_path))


def test_a_table_needs_columns(tmp_path):
    table = write_table(tmp_path / "t.csv", [["text", "label"]])
    with pytest.raises(DataError, match="is not a folder of text files; give columns for a table"):
        parts_of(RunSettings("text", data=table, data_dir=tmp_path))
