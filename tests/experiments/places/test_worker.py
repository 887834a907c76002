from __future__ import annotations

import multiprocessing

from tests.experiments.fakes import PAIR, cells

from primaldual.experiments.execution import Job
from primaldual.experiments.places.worker import READY, work


def test_a_worker_whose_answer_nobody_takes_ends_without_an_error():
    """The parent closes its end first, then asks the process to end: an answer may fall between the two."""
    context = multiprocessing.get_context("spawn")
    pipe, other = context.Pipe()
    process = context.Process(target=work, args=(other, 1), daemon=True)
    process.start()
    other.close()
    assert pipe.recv() == READY
    (cell,) = cells(["bn"], [0])
    pipe.send((Job(cell, None, None, models=None, code=cell.method.code()), PAIR))
    pipe.close()
    process.join()
    assert process.exitcode == 0
