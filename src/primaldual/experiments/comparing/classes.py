"""Accuracy class by class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from primaldual.experiments.comparing.groups import Group, Groups

_MOST_CLASSES = 12
"""Sets with more classes list their most frequent mistakes in place of confusion matrices."""
_MISTAKES = 8


def class_table(groups: Groups, data: str) -> dict[str, Any]:
    """Accuracy of every class for every method, and what was taken for what, over all seeds.

    Args:
        groups: finished cells.
        data: the data set.

    Returns:
        The labels; the accuracy of each class by method ("recall"); and by method the confusion matrix ("matrices") or,
        for many classes, the most frequent mistakes ("mistakes"). Empty where no method kept its confusions.
    """
    found = {
        method: np.sum([result.confusion for result in group.results], axis=0)
        for method in groups.methods
        if (group := groups.of(data, method)) is not None and _same_labels(group)
    }
    if not found:
        return {}
    labels = next(group.results[0].labels for method in found if (group := groups.of(data, method)))
    few = len(labels) <= _MOST_CLASSES
    return {
        "labels": labels,
        "recall": {method: _recall(matrix) for method, matrix in found.items()},
        "matrices": {method: matrix.tolist() for method, matrix in found.items()} if few else {},
        "mistakes": {} if few else {method: _mistakes(matrix, labels) for method, matrix in found.items()},
    }


def _same_labels(group: Group) -> bool:
    return bool(group.results[0].labels) and len({tuple(one.labels) for one in group.results}) == 1


def _recall(matrix: np.ndarray[Any, Any]) -> list[float]:
    right, counts = np.diag(matrix), matrix.sum(1)
    return np.divide(right, counts, out=np.full(len(right), np.nan), where=counts > 0).tolist()


def _mistakes(matrix: np.ndarray[Any, Any], labels: Sequence[str]) -> list[tuple[str, str, int]]:
    wrong = matrix - np.diag(np.diag(matrix))
    order = np.argsort(-wrong, axis=None, kind="stable")[:_MISTAKES]
    places = [np.unravel_index(one, wrong.shape) for one in order]
    return [
        (labels[row], labels[column], int(wrong[row, column])) for row, column in places if wrong[row, column]
    ]
