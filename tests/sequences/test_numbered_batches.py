from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice

import numpy as np

from primaldual.sequences import numbered_batches as module
from primaldual.sequences.listops import ListOps
from primaldual.sequences.listops_task import generated
from primaldual.sequences.numbered_batches import numbered_batches


def test_batches_made_ahead_come_in_order(monkeypatch):
    """Threads stand for the processes, which take seconds to start."""
    monkeypatch.setattr(module, "ProcessPoolExecutor", lambda count, mp_context: ThreadPoolExecutor(count))
    assert list(islice(numbered_batches(partial(pow, 2), 3), 20)) == [2**number for number in range(20)]
    one, two = (generated(ListOps(40), 0, {"training": 900, "test": 100}, count) for count in (1, 2))
    assert np.array_equal(one.tokens, two.tokens)
