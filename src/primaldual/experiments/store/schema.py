"""The tables of a store, how older ones become newer, and what is refused."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

from primaldual.errors import DataError

SCHEMA_VERSION = 2

_TABLES = """
CREATE TABLE cells (
    key TEXT PRIMARY KEY, data TEXT NOT NULL, method TEXT NOT NULL, seed INTEGER NOT NULL, config TEXT NOT NULL);
CREATE TABLE claims (key TEXT PRIMARY KEY REFERENCES cells, owner TEXT NOT NULL);
CREATE TABLE results (
    key TEXT PRIMARY KEY REFERENCES cells, finished TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
    accuracy REAL NOT NULL, outcome TEXT NOT NULL);
CREATE TABLE failures (
    key TEXT PRIMARY KEY REFERENCES cells, failed TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
    kind TEXT NOT NULL, message TEXT NOT NULL, traceback TEXT NOT NULL);
CREATE TABLE profiles (key TEXT PRIMARY KEY, content TEXT NOT NULL);
"""


def prepare(path: Path, connect: Callable[[], sqlite3.Connection]) -> None:
    """Create the tables in a new file, bring an older file up to date, refuse what cannot be used.

    A file of an older version is copied to ``<name>.version<n>.backup`` before anything changes in it.

    Args:
        path: the file.
        connect: opens it.

    Raises:
        DataError: the file is damaged, foreign, or of a newer version.
    """
    with closing(connect()) as connection:
        version = _checked_version(connection, path)
        if version == SCHEMA_VERSION:
            return
        connection.execute("PRAGMA journal_mode = WAL")
        if version:
            _back_up(connection, path.with_name(f"{path.name}.version{version}.backup"))
        connection.execute("BEGIN IMMEDIATE")
        with connection:
            # Another process may have come first.
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                _create(connection)
            for older in range(version or SCHEMA_VERSION, SCHEMA_VERSION):
                _STEPS[older](connection)
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _checked_version(connection: sqlite3.Connection, path: Path) -> int:
    try:
        version: int = connection.execute("PRAGMA user_version").fetchone()[0]
        trouble = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        tables = connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        trouble = str(error)
    if trouble != "ok":
        trouble = " ".join(trouble.split())
        raise DataError(
            f"{path} is damaged, or no file of results ({trouble}); nothing in it was changed. Put a backup in its "
            f"place, save what is readable with: sqlite3 {path.name} .recover, or move it away to begin anew"
        )
    if version > SCHEMA_VERSION:
        raise DataError(
            f"{path} was written by a newer primaldual (schema version {version}; {SCHEMA_VERSION} is accepted); "
            "nothing in it was changed. Upgrade primaldual, or give another folder"
        )
    if version == 0 and tables:
        raise DataError(f"{path} is a database of another program; give another folder")
    return version


def _back_up(connection: sqlite3.Connection, target: Path) -> None:
    with closing(sqlite3.connect(target)) as copy:
        connection.backup(copy)


def _create(connection: sqlite3.Connection) -> None:
    for statement in _TABLES.split(";")[:-1]:
        connection.execute(statement)


def _from_runs_to_cells(connection: sqlite3.Connection) -> None:
    """Version 1 had one table of runs for one data set and one configuration."""
    shared = dict(connection.execute("SELECT key, value FROM configuration"))
    runs = connection.execute(
        "SELECT attention, seed, finished, accuracy, balanced_accuracy, seconds, best_epoch, history FROM runs"
    ).fetchall()
    for table in ("configuration", "runs", "profiles"):
        connection.execute(f"DROP TABLE {table}")
    _create(connection)
    data, _, fingerprint = shared.pop("data", "").rpartition(" ")
    for attention, seed, finished, accuracy, balanced, seconds, best_epoch, history in runs:
        config: Mapping[str, object] = {
            "data": data,
            "fingerprint": fingerprint,
            "method": attention,
            "estimator": "AttentionClassifier",
            "parameters": {**shared, "attention": attention},
            "seed": seed,
            "threads": 1,
            "protocol": {"name": "honest"},
            "code": "unknown: written with schema version 1",
        }
        key = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:32]
        outcome = {
            "accuracy": accuracy,
            "balanced_accuracy": balanced,
            "seconds": seconds,
            "cpu_seconds": None,
            "predict_seconds": None,
            "best_epoch": best_epoch,
            "history": json.loads(history),
        }
        row = (key, data, attention, seed, json.dumps(config))
        connection.execute("INSERT INTO cells VALUES (?, ?, ?, ?, ?)", row)
        connection.execute(
            "INSERT INTO results VALUES (?, ?, ?, ?)", (key, finished, accuracy, json.dumps(outcome))
        )


_STEPS: Mapping[int, Callable[[sqlite3.Connection], None]] = {1: _from_runs_to_cells}
"""From each older version to the next one."""
