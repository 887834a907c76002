"""The committed results: a score for every task, attention, learning rate and seed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from primaldual.reporting.files import write_text

RESULTS = Path(__file__).parents[1] / "results" / "one_preconditioner.json"


def read(path: Path) -> dict[str, float]:
    """Scores by "task|attention|learning rate|seed"."""
    found: dict[str, float] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found


def add(path: Path, key: str, score: float) -> dict[str, float]:
    """Write one more score; the file is whole at any time."""
    results = {**read(path), key: round(score, 5)}
    write_text(path, json.dumps(dict(sorted(results.items())), indent=0) + "\n")
    return results


def by_seed(results: Mapping[str, float], task: str, attention: str, rate: str) -> dict[int, float]:
    """The scores of one cell of a table.

    Example:
        >>> by_seed({"recall|bn|0.01|3": 0.5}, "recall", "bn", "0.01")
        {3: 0.5}
    """
    wanted = [task, attention, rate]
    return {int(key.split("|")[3]): score for key, score in results.items() if key.split("|")[:3] == wanted}
