from __future__ import annotations

import multiprocessing

from tests.experiments.fakes import PAIR, cells

from primaldual.experiments.execution import Job
from primaldual.experiments.places.worker import READY, work


def test_a_worker_whose_answer_nobody_takes_ends_without_an_error(tmp_path, monkeypatch):
    """The parent closes its end first, then asks the process to end: an answer may fall between the two."""
    (tmp_path / "own_parts_of_a_worker.py").write_text(f"open({str(tmp_path / 'imported')!r}, 'w').close()")
    monkeypatch.syspath_prepend(tmp_path)
    context = multiprocessing.get_context("spawn")
    pipe, other = context.Pipe()
    process = context.Process(target=work, args=(other, 1, ("own_parts_of_a_worker",)), daemon=True)
    process.start()
    other.close()
    assert pipe.recv() == READY
    assert (tmp_path / "imported").exists()
    (cell,) = cells(["bn"], [0])
    pipe.send((Job(cell, None, None, models=None, code=cell.method.code()), PAIR))
    pipe.close()
    process.join()
    assert process.exitcode == 0
