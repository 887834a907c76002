"""Confusion matrix: who is taken for whom."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table


def confusion(truth: NDArray[np.str_], predicted: NDArray[np.str_]) -> tuple[list[str], NDArray[np.int64]]:
    """Labels, and how often label i was predicted as label j.

    Example:
        >>> labels, counts = confusion(np.array(["a", "b", "b"]), np.array(["a", "a", "b"]))
        >>> labels, counts.tolist()
        (['a', 'b'], [[1, 0], [1, 1]])
    """
    labels, codes = np.unique(np.concatenate([truth, predicted]), return_inverse=True)
    counts = np.zeros((len(labels), len(labels)), dtype=np.int64)
    np.add.at(counts, (codes[: len(truth)], codes[len(truth) :]), 1)
    return [str(label) for label in labels], counts


def confusion_table(labels: list[str], counts: NDArray[Any]) -> Table:
    """Rows are true labels, columns predictions."""
    table = Table(title="confusion: rows are true, columns predicted", title_justify="left")
    table.add_column("true", style="bold")
    for label in labels:
        table.add_column(label, justify="right")
    for place, label in enumerate(labels):
        cells = [
            f"[bold]{count}[/]" if column == place else str(count) if count else "[dim]·[/]"
            for column, count in enumerate(counts[place].tolist())
        ]
        table.add_row(label, *cells)
    return table
