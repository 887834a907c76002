"""The body of a worker process."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from dataclasses import replace
from importlib import import_module
from multiprocessing.connection import Connection
from typing import Any

import torch
from threadpoolctl import threadpool_limits

from primaldual.experiments.execution import Job
from primaldual.experiments.places.place import attempt

READY = "ready"


def work(pipe: Connection, threads: int, modules: tuple[str, ...] = ()) -> None:
    """Say that the process is ready, then execute jobs from the pipe until it closes.

    Ctrl-C is the parent's to handle, and a vanished parent ends the worker at once.

    Args:
        pipe: brings jobs with their data, or with None for the data of the job before; takes epochs and endings.
        threads: threads to use.
        modules: to import for the parts that they register.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A plain SIGTERM would skip Python's own exit and leave semaphores of libraries (tqdm's lock) behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    for module in modules:
        import_module(module)
    data: Any = None
    try:
        pipe.send(READY)
        while True:
            job: Job
            job, fresh = pipe.recv()
            data = data if fresh is None else fresh
            train, test = data
            with threadpool_limits(threads):
                pipe.send(attempt(replace(job, train=train, test=test), pipe.send))
            torch.set_num_threads(threads)  # classifiers of aeon change it
    except (EOFError, OSError):  # the parent has closed its end; faults of a job are results
        return


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
