from __future__ import annotations

import os

import pytest

from primaldual.errors import DataError
from primaldual.sequences.sources import listing


def test_another_name_size_or_time_is_another_source(tmp_path):
    (tmp_path / "one.txt").write_text("a")
    found = [listing(tmp_path)]
    os.utime(tmp_path / "one.txt", (1, 1))
    found.append(listing(tmp_path))
    (tmp_path / "one.txt").rename(tmp_path / "two.txt")
    found.append(listing(tmp_path))
    assert len(set(found)) == 3
    assert listing(tmp_path) == found[2]


def test_nothing_there_is_one_clear_error(tmp_path):
    with pytest.raises(DataError, match=r"data .*no does not exist; accepted are a folder and a file"):
        listing(tmp_path / "no")
