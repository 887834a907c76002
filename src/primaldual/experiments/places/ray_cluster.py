"""The machines of a Ray cluster."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from typing import Any

from primaldual.errors import ArgumentError
from primaldual.experiments.execution import Job
from primaldual.experiments.places.limits import NO_LIMITS, Limits
from primaldual.experiments.places.place import Ending, HearEpoch, Place, attempt
from primaldual.experiments.store import Failure
from primaldual.primal.words import own_modules

_POLL_SECONDS = 0.5
_RETRIES = 3
LOCAL = "local"
"""Address that starts a cluster of this machine for as long as the grid runs."""


@dataclass(frozen=True)
class _Task:
    job: Job
    begun: float


class RayCluster(Place):
    """A Ray cluster; every cell is a task that Ray starts again when its worker dies.

    The store stays with this process; workers need this library of the same version, and no data.

    Args:
        address: of the cluster, "auto" for the one of this machine, or "local" to start one.
        threads: processors of each cell.
        limits: of a cell: time is kept by this process; memory is asked of Ray, which ends a machine's largest task
            when its memory runs out.

    Raises:
        ArgumentError: Ray is not installed, or no cluster answers at the address.
    """

    def __init__(self, address: str, threads: int = 1, limits: Limits = NO_LIMITS) -> None:
        try:
            import ray
        except ImportError:
            raise ArgumentError('ray needs Ray: pip install "primaldual[ray]"') from None
        try:
            ray.init(None if address == LOCAL else address, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise ArgumentError(
                f"ray {address} has no cluster that answers: {' '.join(str(error).split())}"
            ) from error
        self._ray, self._limits = ray, limits
        self.slots = max(1, int(ray.cluster_resources().get("CPU", 1)) // threads)
        needs: dict[str, Any] = {"num_cpus": threads, "max_retries": _RETRIES}
        if limits.memory is not None:
            needs["memory"] = limits.memory
        self._execute = ray.remote(**needs)(_execute)
        self._tasks: dict[Any, _Task] = {}
        self._data: dict[str, Any] = {}

    def submit(self, job: Job) -> None:
        """Start a task; data go to the cluster once for each data set."""
        fingerprint = job.cell.fingerprint
        if fingerprint not in self._data:
            # Tasks that still need the former data hold it themselves.
            self._data = {fingerprint: self._ray.put((job.train, job.test))}
        bare = replace(job, train=None, test=None)  # type: ignore[arg-type] # data go beside it
        reference = self._execute.remote(bare, self._data[fingerprint], own_modules())
        self._tasks[reference] = _Task(job, time.monotonic())

    def wait(self, hear: HearEpoch) -> list[Ending]:
        """Collect cells that ended; epochs are not reported from a cluster."""
        del hear
        ended, _ = self._ray.wait(list(self._tasks), num_returns=1, timeout=_POLL_SECONDS)
        endings = [self._ending(reference) for reference in ended]
        return endings + [self._stopped(reference) for reference in self._too_long()]

    def close(self) -> None:
        """Cancel what is under way, and leave the cluster."""
        for reference in self._tasks:
            self._ray.cancel(reference, force=True)
        self._tasks.clear()
        self._ray.shutdown()

    def _ending(self, reference: Any) -> Ending:
        cell = self._tasks.pop(reference).job.cell
        try:
            found: Ending = self._ray.get(reference)
        except self._ray.exceptions.OutOfMemoryError as error:
            return Failure(cell.key, cell.title, "memory", _line(error))
        except self._ray.exceptions.RayError as error:
            return Failure(cell.key, cell.title, "died", _line(error))
        return found

    def _too_long(self) -> list[Any]:
        now = time.monotonic()
        return [
            reference
            for reference, task in self._tasks.items()
            if self._limits.exceeded(now - task.begun, 0) is not None
        ]

    def _stopped(self, reference: Any) -> Ending:
        cell = self._tasks.pop(reference).job.cell
        self._ray.cancel(reference, force=True)
        kind, message = self._limits.exceeded(float("inf"), 0) or ("time", "")
        return Failure(cell.key, cell.title, kind, message)


def _execute(job: Job, data: Any, modules: tuple[str, ...]) -> Ending:
    from importlib import import_module

    import torch
    from threadpoolctl import threadpool_limits

    for module in modules:
        import_module(module)
    train, test = data
    torch.set_num_threads(job.cell.threads)
    with threadpool_limits(job.cell.threads):
        return attempt(replace(job, train=train, test=test), lambda _: None)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:500]
