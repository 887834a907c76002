"""Cells in the calling process, one after the other."""

from __future__ import annotations

import torch
from threadpoolctl import threadpool_limits

from primaldual.experiments.execution import Job
from primaldual.experiments.places.place import Ending, HearEpoch, Place, attempt


class Here(Place):
    """The calling process; one cell at a time.

    Example:
        >>> Here().slots
        1
    """

    slots = 1

    def __init__(self) -> None:
        self._jobs: list[Job] = []

    def submit(self, job: Job) -> None:
        """Keep the cell for `wait`."""
        self._jobs.append(job)

    def wait(self, hear: HearEpoch) -> list[Ending]:
        """Execute what was submitted."""
        return [self._attempt(self._jobs.pop(0), hear) for _ in range(len(self._jobs))]

    def close(self) -> None:
        """Forget what was submitted."""
        self._jobs.clear()

    @staticmethod
    def _attempt(job: Job, hear: HearEpoch) -> Ending:
        threads = torch.get_num_threads()
        torch.set_num_threads(job.cell.threads)
        try:
            with threadpool_limits(job.cell.threads):
                return attempt(job, hear)
        finally:
            torch.set_num_threads(threads)
