"""Confusion matrix: who is taken for whom."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table

from primaldual.cli.screen import words

SHOWN_MISTAKES = 12


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


def confusion_view(labels: list[str], counts: NDArray[Any], width: int) -> Group:
    """The matrix if it fits into ``width`` columns, else the most frequent mistakes."""
    first = max(len("true"), *map(len, labels)) + 2
    needed = first + sum(max(len(label), len(str(counts.max()))) + 3 for label in labels)
    return _matrix(labels, counts) if needed <= width else _mistakes(labels, counts)


def _matrix(labels: list[str], counts: NDArray[Any]) -> Group:
    table = Table(box=SIMPLE_HEAD)
    table.add_column("true", style="bold")
    for label in labels:
        table.add_column(label, justify="right")
    for place, label in enumerate(labels):
        cells = [
            words((str(count), "bold")) if column == place else str(count) if count else words(("·", "dim"))
            for column, count in enumerate(counts[place].tolist())
        ]
        table.add_row(label, *cells)
    return Group("confusion: rows are true, columns predicted", table)


def _mistakes(labels: list[str], counts: NDArray[Any]) -> Group:
    wrong = counts * (1 - np.eye(len(labels), dtype=counts.dtype))
    order = np.argsort(-wrong, axis=None, kind="stable")[:SHOWN_MISTAKES]
    title = f"the {SHOWN_MISTAKES} most frequent mistakes; --json prints the whole matrix"
    table = Table(box=SIMPLE_HEAD)
    for heading in ("true", "predicted", "cases"):
        table.add_column(heading, justify="right" if heading == "cases" else "left")
    for true, predicted in zip(*np.unravel_index(order, wrong.shape), strict=True):
        if wrong[true, predicted]:
            table.add_row(labels[true], labels[predicted], str(wrong[true, predicted]))
    return Group(title, table)
