"""Run a grid of attentions and seeds, on one process or several."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from primaldual.data import Dataset
from primaldual.errors import PrimalDualError
from primaldual.experiments.results import Result, execute
from primaldual.experiments.settings import ClassifierFactory, Run

_POLL_SECONDS = 1.0
_PATIENCE_SECONDS = 10.0


@dataclass(frozen=True)
class Work:
    """What every run needs besides its attention and seed."""

    train: Dataset
    test: Dataset
    options: Mapping[str, Any]
    factory: ClassifierFactory
    models: Path


@dataclass(frozen=True)
class Epoch:
    """A run has finished an epoch: its history entry."""

    run: Run
    entry: Mapping[str, Any]


@dataclass(frozen=True)
class _Failure:
    run: Run
    error: type[PrimalDualError] | None
    text: str


Event = Epoch | Result


def run_grid(runs: Sequence[Run], work: Work, jobs: int, on_event: Callable[[Event], None]) -> None:
    """Execute ``runs`` and report every epoch and result, in the calling process, as it comes.

    Every run uses one thread wherever it runs, so results do not depend on ``jobs``.

    Args:
        runs: what to do, in this order.
        work: data, options and classifier.
        jobs: processes; 1 runs everything here.
        on_event: called with each epoch and each result.

    Raises:
        PrimalDualError: a run refused its settings or data; the other runs are stopped.
        RuntimeError: a run failed in an unforeseen way.
    """
    if jobs == 1 or len(runs) < 2:
        with _one_thread():
            for run in runs:
                on_event(_execute(run, work, on_event))
    else:
        _run_on_workers(runs, work, min(jobs, len(runs)), on_event)


def _execute(run: Run, work: Work, on_event: Callable[[Event], None]) -> Result:
    return execute(
        run,
        work.train,
        work.test,
        work.options,
        work.factory,
        work.models,
        on_epoch=lambda entry: on_event(Epoch(run, entry)),
    )


def _run_on_workers(runs: Sequence[Run], work: Work, jobs: int, on_event: Callable[[Event], None]) -> None:
    context = multiprocessing.get_context("spawn")
    # The data go through a queue: as an argument, a worker that dies on start would block the parent for good.
    setup: Any = context.Queue()
    tasks: Any = context.Queue()
    messages: Any = context.Queue()
    for _ in range(jobs):
        setup.put(work)
    for task in [*runs, *[None] * jobs]:
        tasks.put(task)
    workers = [context.Process(target=_work, args=(setup, tasks, messages), daemon=True) for _ in range(jobs)]
    try:
        for worker in workers:
            worker.start()
        missing = len(runs)
        while missing:
            message = _next_message(messages, workers)
            if isinstance(message, _Failure):
                _raise(message)
            missing -= isinstance(message, Result)
            on_event(message)
    except BaseException:
        setup.cancel_join_thread()
        tasks.cancel_join_thread()
        for worker in workers:
            if worker.pid is not None:
                worker.terminate()
        raise
    finally:
        for worker in workers:
            if worker.pid is not None:
                worker.join(_PATIENCE_SECONDS)
                worker.kill()
                worker.join()


def _next_message(messages: Any, workers: Sequence[Any]) -> Any:
    while True:
        try:
            return messages.get(timeout=_POLL_SECONDS)
        except queue.Empty:
            for worker in workers:
                if worker.exitcode not in {None, 0}:
                    raise RuntimeError(f"a training process ended with exit code {worker.exitcode}") from None


def _work(setup: Any, tasks: Any, messages: Any) -> None:
    """Body of a worker: Ctrl-C is the parent's to handle, and a vanished parent ends the worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def stop(*_: object) -> None:
        messages.cancel_join_thread()
        sys.exit(0)

    # A plain SIGTERM would skip Python's own exit and leave semaphores of libraries (tqdm's lock) behind.
    signal.signal(signal.SIGTERM, stop)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    work: Work = setup.get()
    while (run := tasks.get()) is not None:
        try:
            messages.put(_execute(run, work, messages.put))
        except PrimalDualError as error:
            messages.put(_Failure(run, type(error), str(error)))
        except Exception:
            messages.put(_Failure(run, None, traceback.format_exc()))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _raise(failure: _Failure) -> None:
    if failure.error is not None:
        raise failure.error(failure.text)
    raise RuntimeError(f"run {failure.run.attention}, seed {failure.run.seed} failed:\n{failure.text}")


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
