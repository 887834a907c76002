"""The file of results: claims, results and failures of cells."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

from primaldual.errors import ArgumentError, DataError
from primaldual.experiments.cell import Cell
from primaldual.experiments.execution import Outcome
from primaldual.experiments.store.database import PATIENCE_SECONDS, Database
from primaldual.experiments.store.owner import FOLDER, Owner, forget, is_at_work
from primaldual.experiments.store.records import Failure, Result

FILE_NAME = "results.sqlite"
"""The file of results in the folder of a comparison or a grid."""

_TIMES_FOR_OUTCOMES = 20
"""An outcome that took long to compute waits longer for a locked file than anything else."""

_RESULTS = """
SELECT cells.key, cells.data, cells.method, cells.seed, cells.config, results.outcome
FROM results JOIN cells USING (key) ORDER BY results.rowid
"""
_FAILURES = """
SELECT key, data || ', ' || method || ', seed ' || seed, kind, message, traceback
FROM failures JOIN cells USING (key) ORDER BY failures.rowid
"""


class Store:
    """The results of a folder; created with the folder.

    A cell is claimed, then finished or failed, each in one transaction. A claim holds as long as the process that
    made it runs: after ``kill -9`` others may claim the cell. A context manager gives all claims back at its end.

    Args:
        folder: output folder, on a disk of this machine.
        patience: seconds to wait while another process writes.

    Raises:
        ArgumentError: the folder cannot be written.
        DataError: the file is damaged, locked, foreign, or of a newer version.
    """

    def __init__(self, folder: Path, patience: float = PATIENCE_SECONDS) -> None:
        self.folder = folder
        self.path = folder / FILE_NAME
        self._owner = Owner(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._database = Database(self.path, patience)
        except OSError as error:
            raise ArgumentError(f"out {folder} cannot be written ({error.strerror})") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give back the claims of this store; others may do these cells."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM claims WHERE owner = ?", (self._owner.name,))
        self._owner.end()

    def claim(self, cells: Sequence[Cell]) -> Cell | None:
        """Claim the first of the cells that nobody has done, failed at, or is working on.

        Args:
            cells: in the order in which they are wanted.

        Returns:
            The cell, or None when there is nothing left to claim.
        """
        self._owner.begin()
        with self._database.transaction() as connection:
            self._forget_the_dead(connection)
            taken = {
                key
                for table in ("results", "failures", "claims")
                for (key,) in connection.execute(f"SELECT key FROM {table}")
            }
            cell = next((cell for cell in cells if cell.key not in taken), None)
            if cell is not None:
                row = (cell.key, cell.data, cell.method.label, cell.seed, json.dumps(cell.config))
                connection.execute("INSERT OR IGNORE INTO cells VALUES (?, ?, ?, ?, ?)", row)
                connection.execute("INSERT INTO claims VALUES (?, ?)", (cell.key, self._owner.name))
        return cell

    def finish(self, cell: Cell, outcome: Outcome) -> Result:
        """Commit a claimed cell's outcome.

        Raises:
            DataError: this store does not hold the claim.
        """
        with self._ending(cell) as connection:
            connection.execute(
                "INSERT INTO results (key, accuracy, outcome) VALUES (?, ?, ?)",
                (cell.key, outcome.accuracy, json.dumps(asdict(outcome))),
            )
        return Result(
            **vars(outcome),
            key=cell.key,
            data=cell.data,
            method=cell.method.label,
            seed=cell.seed,
            config=cell.config,
        )

    def fail(self, cell: Cell, failure: Failure) -> None:
        """Commit a claimed cell's failure.

        Raises:
            DataError: this store does not hold the claim.
        """
        with self._ending(cell) as connection:
            row = (cell.key, failure.kind, failure.message, failure.traceback)
            connection.execute(
                "INSERT INTO failures (key, kind, message, traceback) VALUES (?, ?, ?, ?)", row
            )

    def retry(self, cells: Iterable[Cell]) -> None:
        """Forget the failures of the cells."""
        with self._database.transaction() as connection:
            connection.executemany("DELETE FROM failures WHERE key = ?", [(cell.key,) for cell in cells])

    def results(self, cells: Iterable[Cell] | None = None) -> list[Result]:
        """The finished ones among the cells, in their order; all of the store by default.

        Raises:
            DataError: the file is damaged.
        """
        rows = self._database.read(_RESULTS)
        with self._readable():
            found = {
                row[0]: Result(
                    **json.loads(row[5]),
                    key=row[0],
                    data=row[1],
                    method=row[2],
                    seed=row[3],
                    config=json.loads(row[4]),
                )
                for row in rows
            }
        return list(found.values()) if cells is None else _in_order(found, cells)

    def failures(self, cells: Iterable[Cell] | None = None) -> list[Failure]:
        """The failed ones among the cells, in their order; all of the store by default."""
        found = {row[0]: Failure(*row) for row in self._database.read(_FAILURES)}
        return list(found.values()) if cells is None else _in_order(found, cells)

    def claimed(self, cells: Iterable[Cell]) -> int:
        """How many of the cells some process, this one or another, has claimed."""
        keys = {cell.key for cell in cells}
        return sum(key in keys for (key,) in self._database.read("SELECT key FROM claims"))

    def configurations(self) -> list[dict[str, Any]]:
        """The configurations of all cells that were ever claimed."""
        rows = self._database.read("SELECT config FROM cells")
        with self._readable():
            return [json.loads(config) for (config,) in rows]

    def save_profile(self, key: str, content: Mapping[str, Any]) -> None:
        """Keep what was measured of trained models."""
        with self._database.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO profiles VALUES (?, ?)", (key, json.dumps(content)))

    def profile(self, key: str) -> dict[str, Any] | None:
        """What was kept under a key, or None."""
        rows = self._database.read("SELECT content FROM profiles WHERE key = ?", key)
        with self._readable():
            return dict(json.loads(rows[0][0])) if rows else None

    @contextmanager
    def _readable(self) -> Iterator[None]:
        """Turn what JSON and records raise for damaged text into one error."""
        try:
            yield
        except (ValueError, TypeError) as error:
            raise DataError(
                f"results {self.path} are damaged: a run cannot be read ({type(error).__name__}); delete the file to start "
                "again"
            ) from error

    @contextmanager
    def _ending(self, cell: Cell) -> Iterator[sqlite3.Connection]:
        with self._database.transaction(_TIMES_FOR_OUTCOMES) as connection:
            given_up = connection.execute(
                "DELETE FROM claims WHERE key = ? AND owner = ?", (cell.key, self._owner.name)
            )
            if given_up.rowcount != 1:
                raise DataError(f"cell {cell.title} is not claimed by this process; its outcome is not kept")
            yield connection

    def _forget_the_dead(self, connection: sqlite3.Connection) -> None:
        owners = [name for (name,) in connection.execute("SELECT DISTINCT owner FROM claims")]
        for name in owners:
            if name != self._owner.name and not is_at_work(self.folder, name):
                connection.execute("DELETE FROM claims WHERE owner = ?", (name,))
                forget(self.folder, name)


def _in_order(found: Mapping[str, Any], cells: Iterable[Cell]) -> list[Any]:
    return [found[cell.key] for cell in cells if cell.key in found]


def discard(folder: Path) -> None:
    """Remove an earlier comparison from an output folder; a folder that holds none is left alone."""
    if not (folder / FILE_NAME).is_file():
        return
    for name in ("models", FOLDER):
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in ("report.html", f"{FILE_NAME}-journal", f"{FILE_NAME}-wal", f"{FILE_NAME}-shm", FILE_NAME):
        (folder / name).unlink(missing_ok=True)
