"""Connections to the file of results: short, patient, and explained when they fail."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from primaldual.errors import DataError
from primaldual.experiments.store.schema import prepare

PATIENCE_SECONDS = 30.0


class Database:
    """One SQLite file; every read and every transaction opens it anew.

    Args:
        path: the file; created, or brought up to date.
        patience: seconds to wait while another process writes.

    Raises:
        DataError: the file is damaged, locked, foreign, or of a newer version.
    """

    def __init__(self, path: Path, patience: float = PATIENCE_SECONDS) -> None:
        self._path, self._patience = path, patience
        with self._explained():
            prepare(path, self._connect)

    def read(self, query: str, *values: object) -> list[Any]:
        """All rows of a query."""
        with self._explained(), closing(self._connect()) as connection:
            return connection.execute(query, values).fetchall()

    @contextmanager
    def transaction(self, times_patience: int = 1) -> Iterator[sqlite3.Connection]:
        """A connection whose changes are committed together at the end, or not at all.

        Args:
            times_patience: how many times longer than usual to wait for a locked file.

        Raises:
            DataError: the file stays locked.
        """
        patience = self._patience * times_patience
        with self._explained(), closing(self._connect(patience)) as connection, connection:
            connection.execute("BEGIN IMMEDIATE")
            yield connection

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
            raise DataError(
                f"{self._path} has been locked by another program for too long; close it (a database browser, a "
                "backup) and give the same command again: what is finished is kept"
            ) from error

    def _connect(self, patience: float | None = None) -> sqlite3.Connection:
        timeout = self._patience if patience is None else patience
        return sqlite3.connect(self._path, timeout=timeout, isolation_level=None)
