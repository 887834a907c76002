"""The training of a run under the eyes of the terminal: what ``train images``, ``lra`` and ``text`` share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from primaldual.cli.step_notes import StepNotes
from primaldual.training import Callback, Execution, Trackers, TrainingState
from primaldual.training.accelerators import leave_processes
from primaldual.training.run_folders import RunFolder, is_main_process


class Run(Protocol):
    """A run that is prepared."""

    @property
    def folder(self) -> RunFolder:
        """Its place."""

    @property
    def config(self) -> Mapping[str, Any]:
        """All that its results depend on."""

    def train(self, execution: Execution, callbacks: Sequence[Callback] = ()) -> TrainingState:
        """Train, or go on from the newest checkpoint."""


def trained(
    run: Run, notes: StepNotes, tracker: list[str] | None, execution: Mapping[str, Any]
) -> TrainingState | None:
    """Train with notes, and log to trackers.

    Args:
        run: what is trained.
        notes: on the screen.
        tracker: names of trackers.
        execution: arguments of :class:`primaldual.training.Execution` beside the folder of checkpoints.

    Returns:
        The state; None on every process but the first, which alone has more to do.
    """
    trackers = [Trackers(tracker, run.folder.path, run.config)] if tracker else []
    state = run.train(Execution(checkpoint_dir=run.folder.checkpoints, **execution), [notes, *trackers])
    leave_processes()
    if not is_main_process():
        return None
    notes.tell("testing")
    return state
