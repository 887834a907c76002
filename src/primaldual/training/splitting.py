"""A validation or a test part out of a set of cases."""

import numpy as np
import numpy.typing as npt

from primaldual.errors import DataError

Indices = npt.NDArray[np.int64]

HELD_OUT = 0.2
"""Share of the cases of data without parts that makes its test part."""


def split_off_validation(groups: Indices, fraction: float, seed: int) -> tuple[Indices, Indices]:
    """Split cases at random, every group in proportion; a group keeps at least one case for training.

    The groups share ``round(fraction * cases)`` validation cases by largest remainder, so groups with one
    member, or more groups than validation cases, do no harm. The validation part may be empty.

    Args:
        groups: (cases,): number of each case's class; all zero for a regression.
        fraction: share of cases that goes to validation.
        seed: of the random choice.

    Returns:
        Indices of the training and of the validation part, both in increasing order.

    Example:
        >>> train, validation = split_off_validation(np.array([0] * 10 + [1] * 10 + [2]), 0.2, seed=0)
        >>> len(train), np.bincount(validation // 10)
        (17, array([2, 2]))
    """
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(groups))
    counts = np.bincount(groups)
    wanted = fraction * counts
    taken = np.minimum(np.floor(wanted), np.maximum(counts - 1, 0)).astype(int)
    remainder = np.where(counts - taken > 1, wanted - taken, -1.0)
    missing = max(round(fraction * len(groups)) - int(taken.sum()), 0)
    ties = generator.permutation(len(counts))
    for group in ties[np.argsort(-remainder[ties], kind="stable")][:missing]:
        taken[group] += remainder[group] > 0
    validation = np.concatenate([order[groups[order] == group][:count] for group, count in enumerate(taken)])
    return np.setdiff1d(order, validation), np.sort(validation)


def split_off_test(groups: Indices) -> tuple[Indices, Indices]:
    """Split a fifth of the cases off as the test part, every group in proportion, the same cases every time.

    Args:
        groups: (cases,): number of each case's class.

    Returns:
        Indices of the training and of the test part, both in increasing order.

    Raises:
        DataError: so few cases that the test part is empty.

    Example:
        >>> training, test = split_off_test(np.array([0] * 10 + [1] * 5))
        >>> len(training), len(test)
        (12, 3)
    """
    training, test = split_off_validation(groups, HELD_OUT, seed=0)
    if not len(test):
        raise DataError(
            f"data without parts must have cases enough for a test part of {HELD_OUT:.0%} that leaves one of every class to "
            f"train on; got {len(groups)} cases of {len(np.unique(groups))} classes"
        )
    return training, test
