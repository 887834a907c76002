from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from primaldual.errors import DataError
from primaldual.experiments.store import FILE_NAME, Store
from primaldual.experiments.store.schema import SCHEMA_VERSION

VERSION_1 = """
CREATE TABLE configuration (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE runs (
    attention TEXT NOT NULL, seed INTEGER NOT NULL, finished TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
    accuracy REAL NOT NULL, balanced_accuracy REAL NOT NULL, seconds REAL NOT NULL,
    best_epoch INTEGER NOT NULL, history TEXT NOT NULL,
    PRIMARY KEY (attention, seed));
CREATE TABLE profiles (attention TEXT PRIMARY KEY, seeds TEXT NOT NULL, content TEXT NOT NULL);
INSERT INTO configuration VALUES ('data', 'toy set 12ab+34cd'), ('epochs', '5');
INSERT INTO runs VALUES ('bn+sh', 1, '2026-01-02 03:04:05', 0.9, 0.8, 1.5, 3, '[{"epoch": 1}]');
PRAGMA user_version = 1;
"""


def _file(folder, script):
    with closing(sqlite3.connect(folder / FILE_NAME)) as connection:
        connection.executescript(script)


def test_an_older_file_is_backed_up_and_brought_up_to_date(tmp_path):
    _file(tmp_path, VERSION_1)
    store = Store(tmp_path)
    (result,) = store.results()
    assert (result.data, result.method, result.seed, result.accuracy) == ("toy set", "bn+sh", 1, 0.9)
    assert (result.best_epoch, result.history, result.cpu_seconds) == (3, [{"epoch": 1}], None)
    assert result.config["fingerprint"] == "12ab+34cd"
    assert result.config["parameters"] == {"epochs": "5", "attention": "bn+sh"}
    with closing(sqlite3.connect(tmp_path / f"{FILE_NAME}.version1.backup")) as backup:
        assert backup.execute("PRAGMA user_version").fetchone() == (1,)
        assert backup.execute("SELECT accuracy FROM runs").fetchall() == [(0.9,)]
    assert Store(tmp_path).results() == [result]


def test_a_migration_that_fails_leaves_the_file_as_it_was(tmp_path):
    _file(tmp_path, VERSION_1.replace('[{"epoch": 1}]', "no json"))
    with pytest.raises(ValueError, match="Expecting value"):
        Store(tmp_path)
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
        assert connection.execute("SELECT COUNT(*) FROM runs").fetchone() == (1,)


def test_an_empty_file_is_filled(tmp_path):
    (tmp_path / FILE_NAME).touch()
    assert Store(tmp_path).results() == []


BAD = {
    "newer": (
        f"CREATE TABLE a (b); PRAGMA user_version = {SCHEMA_VERSION + 1};",
        "newer primaldual.*Upgrade",
    ),
    "foreign": ("CREATE TABLE a (b);", "another program"),
}


@pytest.mark.parametrize("name", BAD)
def test_files_that_cannot_be_used_are_refused_and_left_alone(tmp_path, name):
    script, message = BAD[name]
    _file(tmp_path, script)
    before = (tmp_path / FILE_NAME).read_bytes()
    with pytest.raises(DataError, match=message):
        Store(tmp_path)
    assert (tmp_path / FILE_NAME).read_bytes() == before


def test_text_is_no_file_of_results(tmp_path):
    content = b"not a database at all, but long enough to have a header" * 20
    (tmp_path / FILE_NAME).write_bytes(content)
    with pytest.raises(DataError, match="damaged, or no file of results"):
        Store(tmp_path)
    assert (tmp_path / FILE_NAME).read_bytes() == content


def test_a_damaged_page_is_found_before_anything_is_written(tmp_path):
    Store(tmp_path)
    content = bytearray((tmp_path / FILE_NAME).read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    (tmp_path / FILE_NAME).write_bytes(content)
    with pytest.raises(DataError, match=r"(?s)damaged.*backup"):
        Store(tmp_path)
    assert (tmp_path / FILE_NAME).read_bytes() == content
