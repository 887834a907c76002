"""Checkpoints of a run: written whole or not at all; the newest is kept, and in it the best weights."""

import hashlib
import json
import os
import secrets
import shutil
import time
from contextlib import suppress
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from primaldual.errors import CheckpointError
from primaldual.reporting.files import write_failure
from primaldual.training.batches import Data
from primaldual.training.callbacks import TrainingState
from primaldual.training.objectives import Objective
from primaldual.training.randomness import derive_seed, untouched_python_and_numpy
from primaldual.training.settings import TrainingSettings
from primaldual.training.weight_average import WeightAverage

PROGRESS = "progress.json"
BEST = "best.safetensors"
AVERAGE = "average.safetensors"
_WRITING = ".writing"
_ABANDONED = 3600.0
"""Seconds after which nobody writes to an unfinished checkpoint any more."""


def run_fingerprint(
    model: nn.Module, objective: Objective, settings: TrainingSettings, *data: Data | None
) -> str:
    """Name of a run: the same model, objective, settings and data give the same name.

    Example:
        >>> from primaldual.training import Classification, TrainingSettings
        >>> name = run_fingerprint(nn.Linear(2, 2), Classification(), TrainingSettings(epochs=1))
        >>> len(name), name == run_fingerprint(nn.Linear(2, 2), Classification(), TrainingSettings(epochs=2))
        (16, False)
    """
    digest = hashlib.sha256(f"{model}{objective}{settings}".encode())
    for name, tensor in model.state_dict().items():
        digest.update(f"{name}{tuple(tensor.shape)}".encode() + tensor.cpu().numpy().tobytes())
    for part in data:
        digest.update(b"" if part is None else part.fingerprint())
    return digest.hexdigest()[:16]


class RunCheckpoints:
    """The checkpoints of one run; a folder serves many runs.

    They lie in ``folder/<fingerprint>/epoch-000012`` or, in the middle of the thirteenth epoch, in
    ``epoch-000012-step-00000034``.

    Args:
        folder: where all checkpoints live.
        fingerprint: see `run_fingerprint`.
        accelerator: holds the prepared model and optimizer.
        average: the moving average of the weights, if there is one.

    Raises:
        CheckpointError: the folder cannot be written.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        fingerprint: str,
        accelerator: Accelerator,
        average: WeightAverage | None = None,
    ) -> None:
        self.folder = Path(folder) / fingerprint
        self.accelerator = accelerator
        self.average = average
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CheckpointError(
                f"checkpoint_dir {str(folder)!r} cannot be written: {error.strerror}"
            ) from error

    def save(self, state: TrainingState) -> None:
        """Write the state after a step or an epoch to a temporary name, rename it, drop the older ones.

        Raises:
            CheckpointError: the disk is full or the place cannot be written; the checkpoint before stays.
        """
        named = [f"{_WRITING}-{secrets.token_hex(8)}"]  # its own, for the same run may be under way elsewhere
        writing = self.folder / broadcast_object_list(named)[0]
        try:
            self._write(state, writing)
        except Exception as error:
            shutil.rmtree(writing, ignore_errors=True)
            reason = write_failure(error)
            if reason is None:
                raise
            raise CheckpointError(
                f"checkpoint_dir {str(self.folder)!r} cannot be written: {reason}"
            ) from error

    def _write(self, state: TrainingState, writing: Path) -> None:
        self.accelerator.save_state(str(writing))
        average = {} if self.average is None else self.average.tensors()
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            older = self._written()
            save_file(state.best_weights, writing / BEST)
            if average:
                save_file({name: one.contiguous() for name, one in average.items()}, writing / AVERAGE)
            progress = {
                "epoch": state.epoch,
                "step": state.step,
                "loss_sums": state.loss_sums,
                "times": state.times,
                "processes": self.accelerator.num_processes,
                "history": state.history,
                "best_epoch": state.best_epoch,
                "stopped": state.stopped,
            }
            (writing / PROGRESS).write_text(json.dumps(progress), encoding="utf-8")
            within = f"-step-{state.step:08d}" if state.step else ""
            target = self.folder / f"epoch-{state.epoch:06d}{within}"
            with suppress(OSError):  # the same step of the same run is there already
                os.replace(writing, target)
            for folder in (*older, writing):
                if folder < target or folder == writing:  # the same run may be further elsewhere
                    shutil.rmtree(folder, ignore_errors=True)
        self.accelerator.wait_for_everyone()

    def resume(self, state: TrainingState) -> None:
        """Bring model, optimizer, random generators and state to the newest checkpoint, if there is one.

        Of another number of processes than now, the generators of an epoch under way are seeded anew. A checkpoint that
        the same run removes elsewhere, as it writes the next one, is not the newest any more.

        Raises:
            CheckpointError: the newest checkpoint cannot be read.
        """
        self._clear_abandoned()
        while written := self._written():
            try:
                self._read(written[-1], state)
                return
            except CheckpointError:
                if self._written()[-1:] in ([], written[-1:]):
                    raise

    def _read(self, newest: Path, state: TrainingState) -> None:
        try:
            progress = json.loads((newest / PROGRESS).read_text(encoding="utf-8"))
            best_weights: dict[str, Tensor] = load_file(newest / BEST)
            if self.average is not None:
                self.average.restore(load_file(newest / AVERAGE))
            with untouched_python_and_numpy():
                self.accelerator.load_state(str(newest))
            state.epoch, state.step = progress["epoch"], progress["step"]
            losses, weights = progress["loss_sums"]
            training, loading = progress["times"]
            state.loss_sums, state.times = (losses, weights), (training, loading)
            state.history = progress["history"]
            state.best_epoch, state.stopped = progress["best_epoch"], progress["stopped"]
            if progress["processes"] != self.accelerator.num_processes:
                process = self.accelerator.process_index
                torch.manual_seed(derive_seed(state.settings.seed, state.epoch, process, state.step))
        except Exception as error:  # torch, safetensors and json each raise their own kinds
            raise CheckpointError(
                f"checkpoint {str(newest)!r} cannot be read ({type(error).__name__}); "
                "delete it to start again"
            ) from error
        state.best_weights = best_weights

    def _written(self) -> list[Path]:
        return sorted(self.folder.glob("epoch-*"))

    def _clear_abandoned(self) -> None:
        """Remove what a run that was killed had begun to write."""
        for folder in self.folder.glob(f"{_WRITING}-*"):
            with suppress(OSError):
                if time.time() - folder.stat().st_mtime > _ABANDONED:
                    shutil.rmtree(folder, ignore_errors=True)
