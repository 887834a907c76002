"""Worker processes of this machine."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing.connection import wait as wait_for
from typing import Any

import psutil  # type: ignore[import-untyped] # stubs are a package of their own

from primaldual.experiments.execution import Job
from primaldual.experiments.places.limits import NO_LIMITS, Limits
from primaldual.experiments.places.place import Done, Ending, Epoch, HearEpoch, Place
from primaldual.experiments.places.worker import work
from primaldual.experiments.store import Failure
from primaldual.primal.words import own_modules

_POLL_SECONDS = 0.5
_PATIENCE_SECONDS = 10.0
_TRIES = 2
"""A cell whose process dies gets a second one; a second death is a failure."""


class Workers(Place):
    """Processes that each execute one cell at a time.

    Args:
        slots: processes.
        threads: threads of each.
        limits: of a cell; a process beyond them is killed, and another one takes its place.
    """

    def __init__(self, slots: int, threads: int = 1, limits: Limits = NO_LIMITS) -> None:
        self.slots = slots
        self._threads, self._limits = threads, limits
        self._workers: list[_Worker] = []

    def submit(self, job: Job) -> None:
        """Give the cell to an idle process that holds its data already, to any idle one, or to a new one."""
        self._give(job, tries=0)

    def wait(self, hear: HearEpoch) -> list[Ending]:
        """Pass epochs on; collect cells that ended, died, or went beyond the limits."""
        wait_for([worker.pipe for worker in self._workers], timeout=_POLL_SECONDS)
        endings: list[Ending] = []
        for worker in list(self._workers):
            for message in worker.messages():
                if isinstance(message, Epoch):
                    hear(message)
                elif isinstance(message, Done | Failure):
                    worker.job = None
                    endings.append(message)
            endings += self._removed(worker)
        return endings

    def close(self) -> None:
        """End all processes, and wait for them."""
        for worker in self._workers:
            worker.end()
        self._workers.clear()

    def _give(self, job: Job, tries: int) -> None:
        idle = [worker for worker in self._workers if worker.job is None]
        idle.sort(key=lambda worker: worker.held != job.cell.fingerprint)
        if not idle:
            idle = [_Worker(self._threads)]
            self._workers += idle
        idle[0].take(job, tries)

    def _removed(self, worker: _Worker) -> list[Ending]:
        """What follows when a process has died, or must: its cell fails, or another process gets it."""
        job = worker.job
        beyond = worker.beyond(self._limits)
        if beyond is None and worker.process.is_alive() and not worker.closed:
            return []
        worker.end()
        self._workers.remove(worker)
        if job is None:
            return []
        if beyond is None and worker.tries + 1 < _TRIES:
            self._give(job, worker.tries + 1)
            return []
        kind, message = beyond or (
            "died",
            f"its process ended {_TRIES} times, {_cause(worker.process.exitcode)}",
        )
        return [Failure(job.cell.key, job.cell.title, kind, message)]


class _Worker:
    """A process, its pipe, and its cell."""

    def __init__(self, threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=work, args=(other, threads, own_modules()), daemon=True)
        self.process.start()
        other.close()
        self.job: Job | None = None
        self.held = ""
        self.tries = 0
        self.closed = False
        self._ready = False
        self._begun: float | None = None

    def take(self, job: Job, tries: int) -> None:
        """Send a cell, now or as soon as the process has started."""
        self.job, self.tries, self._begun = job, tries, None
        if self._ready:
            self._send()

    def messages(self) -> Iterator[Any]:
        """All that has arrived; nothing is lost when the process dies after it was sent."""
        try:
            while self.pipe.poll():
                message = self.pipe.recv()
                if isinstance(message, str):
                    self._ready = True
                    self._send()
                else:
                    yield message
        except (EOFError, OSError):
            self.closed = True

    def beyond(self, limits: Limits) -> tuple[str, str] | None:
        """Which limit the cell has gone beyond, if any."""
        if self.job is None or self._begun is None or not limits.any:
            return None
        try:
            memory = psutil.Process(self.process.pid).memory_info().rss
        except psutil.Error:
            return None
        return limits.exceeded(time.monotonic() - self._begun, memory)

    def end(self) -> None:
        """Kill a process at work, let an idle one go, and wait for its end."""
        self.pipe.close()
        if self.job is not None:
            self.process.terminate()
        self.process.join(_PATIENCE_SECONDS if self._begun is None or self.job is None else 1.0)
        self.process.kill()
        self.process.join()

    def _send(self) -> None:
        if self.job is None:
            return
        fresh = None if self.held == self.job.cell.fingerprint else (self.job.train, self.job.test)
        self.held, self._begun = self.job.cell.fingerprint, time.monotonic()
        try:
            self.pipe.send((replace(self.job, train=None, test=None), fresh))  # type: ignore[arg-type] # data go beside it
        except OSError:
            self.closed = True


def _cause(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        return f"killed by {name}" + (", perhaps for want of memory" if name == "SIGKILL" else "")
    return f"with exit code {code}"
