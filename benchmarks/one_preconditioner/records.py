"""The committed results: a score for every task, attention, learning rate and seed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from benchmarks.kept_cells import keep, read

__all__ = ["RESULTS", "add", "by_seed", "read"]

RESULTS = Path(__file__).parents[1] / "results" / "one_preconditioner.json"


def add(path: Path, key: str, score: float) -> dict[str, float]:
    """Write one more score by "task|attention|learning rate|seed"; the file is whole at any time."""
    return keep(path, key, round(score, 5))


def by_seed(results: Mapping[str, float], task: str, attention: str, rate: str) -> dict[int, float]:
    """The scores of one cell of a table.

    Example:
        >>> by_seed({"recall|bn|0.01|3": 0.5}, "recall", "bn", "0.01")
        {3: 0.5}
    """
    wanted = [task, attention, rate]
    return {int(key.split("|")[3]): score for key, score in results.items() if key.split("|")[:3] == wanted}
