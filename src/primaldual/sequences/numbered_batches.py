"""Batches that are made by number, in this process or ahead by others, and come in the order of their numbers."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import count
from typing import TypeVar

Made = TypeVar("Made")


def numbered_batches(make: Callable[[int], Made], processes: int) -> Iterator[Made]:
    """``make(0)``, ``make(1)`` and so on without an end.

    Args:
        make: picklable where there are several processes.
        processes: that make batches; 1 = this one.

    Example:
        >>> found = numbered_batches(lambda number: number**2, processes=1)
        >>> [next(found) for _ in range(4)]
        [0, 1, 4, 9]
    """
    return map(make, count()) if processes == 1 else _made_ahead(make, processes)


def _made_ahead(make: Callable[[int], Made], processes: int) -> Iterator[Made]:
    pool = ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn"))
    pending: deque[Future[Made]] = deque()
    try:
        for number in count():
            pending.append(pool.submit(make, number))
            if len(pending) > 2 * processes:
                yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
