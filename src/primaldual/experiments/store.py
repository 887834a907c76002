"""Results in one SQLite file: every finished run is committed at once."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from primaldual.errors import ArgumentError, DataError
from primaldual.experiments.results import Result
from primaldual.experiments.settings import Run

SCHEMA_VERSION = 1
FILE_NAME = "results.sqlite"

_SCHEMA = f"""
CREATE TABLE configuration (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE runs (
    attention TEXT NOT NULL, seed INTEGER NOT NULL, finished TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
    accuracy REAL NOT NULL, balanced_accuracy REAL NOT NULL, seconds REAL NOT NULL,
    best_epoch INTEGER NOT NULL, history TEXT NOT NULL,
    PRIMARY KEY (attention, seed));
CREATE TABLE profiles (attention TEXT PRIMARY KEY, seeds TEXT NOT NULL, content TEXT NOT NULL);
PRAGMA user_version = {SCHEMA_VERSION};
"""


class Store:
    """The results file of an output folder; created with the folder.

    Args:
        folder: output folder.
        configuration: what all runs share, as text by name. A folder that holds runs of another
            configuration is refused.

    Raises:
        ArgumentError: the folder cannot be written, or holds runs of another configuration.
        DataError: the file is not a results file of this version.
    """

    def __init__(self, folder: Path, configuration: Mapping[str, str]) -> None:
        self.folder = folder
        self.path = folder / FILE_NAME
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with closing(self._connect()) as connection, connection:
                version = connection.execute("PRAGMA user_version").fetchone()[0]
                if connection.execute("SELECT 1 FROM sqlite_master").fetchone() is None:
                    connection.executescript(_SCHEMA)
                    rows = configuration.items()
                    connection.executemany("INSERT INTO configuration VALUES (?, ?)", rows)
                elif version != SCHEMA_VERSION:
                    raise DataError(f"{self.path} has schema version {version}; {SCHEMA_VERSION} is accepted")
                found = dict(connection.execute("SELECT key, value FROM configuration"))
        except OSError as error:
            raise ArgumentError(f"out {folder} cannot be written ({error.strerror})") from error
        except sqlite3.DatabaseError as error:
            raise DataError(f"{self.path} is not a readable results file: {error}") from error
        self._refuse_other(found, configuration)

    def save(self, result: Result) -> None:
        """Commit one finished run."""
        with closing(self._connect()) as connection, connection:
            connection.execute(
                "INSERT OR REPLACE INTO runs (attention, seed, accuracy, balanced_accuracy, seconds, "
                "best_epoch, history) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    result.run.attention,
                    result.run.seed,
                    result.accuracy,
                    result.balanced_accuracy,
                    result.seconds,
                    result.best_epoch,
                    json.dumps(result.history),
                ),
            )

    def results(self, runs: Iterable[Run]) -> dict[Run, Result]:
        """The finished ones among ``runs``."""
        with closing(self._connect()) as connection:
            rows = connection.execute(
                "SELECT attention, seed, accuracy, balanced_accuracy, seconds, best_epoch, history FROM runs"
            ).fetchall()
        found = {
            Run(row[0], row[1]): Result(
                Run(row[0], row[1]), row[2], row[3], row[4], row[5], json.loads(row[6])
            )
            for row in rows
        }
        return {run: found[run] for run in runs if run in found}

    def save_profile(self, attention: str, seeds: tuple[int, ...], content: Mapping[str, Any]) -> None:
        """Keep what was measured of an attention's trained models."""
        row = (attention, json.dumps(seeds), json.dumps(content))
        with closing(self._connect()) as connection, connection:
            connection.execute("INSERT OR REPLACE INTO profiles VALUES (?, ?, ?)", row)

    def profile(self, attention: str, seeds: tuple[int, ...]) -> dict[str, Any] | None:
        """What was measured of the models of exactly these seeds, or None."""
        query = "SELECT content FROM profiles WHERE attention = ? AND seeds = ?"
        with closing(self._connect()) as connection:
            row = connection.execute(query, (attention, json.dumps(seeds))).fetchone()
        return None if row is None else dict(json.loads(row[0]))

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, timeout=30)

    def _refuse_other(self, found: Mapping[str, str], wanted: Mapping[str, str]) -> None:
        changed = [
            f"{key} {found.get(key, 'default')} there, {wanted.get(key, 'default')} now"
            for key in sorted({*found, *wanted})
            if found.get(key) != wanted.get(key)
        ]
        if changed:
            raise ArgumentError(
                f"out {self.folder} holds runs with other settings ({'; '.join(changed)}); "
                "choose another folder, or start afresh there with --fresh"
            )


def discard(folder: Path) -> None:
    """Remove an earlier comparison from an output folder; a folder that holds none is left alone."""
    if not (folder / FILE_NAME).is_file():
        return
    shutil.rmtree(folder / "models", ignore_errors=True)
    for name in ("report.html", f"{FILE_NAME}-journal", FILE_NAME):
        (folder / name).unlink(missing_ok=True)
