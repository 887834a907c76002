from __future__ import annotations

import pytest

from primaldual.errors import ArgumentError, DataError
from primaldual.experiments.literature import COLLECTIONS, Published, at_hand, read_published


def test_sets_on_disk_are_told_from_those_that_are_not(tmp_path):
    folder = tmp_path / "Heartbeat"
    folder.mkdir()
    (folder / "Heartbeat_TRAIN.ts").touch()
    present, absent = at_hand("uea", tmp_path)
    assert present == ["Heartbeat", "JapaneseVowels"]  # the second lies in aeon's wheel
    assert sorted(present + absent) == sorted(COLLECTIONS["uea"])
    assert len(absent) == 8


def test_bad_collections_and_folders_are_refused(tmp_path):
    with pytest.raises(ArgumentError, match="did you mean uea"):
        at_hand("ueaa")
    with pytest.raises(ArgumentError, match="is not a folder"):
        at_hand("uea", tmp_path / "none")


def test_published_numbers_are_read(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("data,method,accuracy,protocol\nHeartbeat,theirs,0.75,optimistic\n")
    assert read_published(path) == [Published("Heartbeat", "theirs", 0.75, "optimistic")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data,accuracy\n", "must have the columns"),
        ("data,method,accuracy,protocol\na,b,75,honest\n", "line 2: accuracy must be a share"),
        ("data,method,accuracy,protocol\na,b,x,honest\n", "accuracy must be a share"),
        ("data,method,accuracy,protocol\na,b,0.5,good\n", "protocol must be one of"),
    ],
)
def test_bad_files_are_refused(tmp_path, text, message):
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_published(tmp_path / "p.csv")
