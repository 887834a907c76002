"""Results in one SQLite file: every finished cell is committed at once, and no cell is done twice."""

from primaldual.experiments.store.records import Failure, Result
from primaldual.experiments.store.store import FILE_NAME, Store, discard

__all__ = ["FILE_NAME", "Failure", "Result", "Store", "discard"]
