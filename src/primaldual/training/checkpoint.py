"""Checkpoints of a run: written whole or not at all, one folder per epoch, the newest kept."""

import hashlib
import json
import os
import secrets
import shutil
from contextlib import suppress
from dataclasses import astuple
from pathlib import Path

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from primaldual.errors import CheckpointError
from primaldual.reporting.files import write_failure
from primaldual.training.callbacks import TrainingState
from primaldual.training.examples import Examples
from primaldual.training.objectives import Objective
from primaldual.training.randomness import untouched_python_and_numpy
from primaldual.training.settings import TrainingSettings

PROGRESS = "progress.json"
BEST = "best.safetensors"
_WRITING = ".writing"


def run_fingerprint(
    model: nn.Module, objective: Objective, settings: TrainingSettings, *data: Examples | None
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
    for examples in data:
        for tensor in astuple(examples) if examples is not None else ():
            if tensor is not None:
                digest.update(f"{tuple(tensor.shape)}".encode() + tensor.cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


class RunCheckpoints:
    """The checkpoints of one run, in ``folder/<fingerprint>/epoch-000012``; a folder serves many runs.

    Args:
        folder: where all checkpoints live.
        fingerprint: see `run_fingerprint`.
        accelerator: holds the prepared model and optimizer.

    Raises:
        CheckpointError: the folder cannot be written.
    """

    def __init__(self, folder: str | os.PathLike[str], fingerprint: str, accelerator: Accelerator) -> None:
        self.folder = Path(folder) / fingerprint
        self.accelerator = accelerator
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CheckpointError(
                f"checkpoint_dir {str(folder)!r} cannot be written: {error.strerror}"
            ) from error

    def save(self, state: TrainingState) -> None:
        """Write the state after an epoch to a temporary name, rename it, drop the older ones.

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
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            older = self._epochs()
            save_file(state.best_weights, writing / BEST)
            progress = {
                "epoch": state.epoch,
                "history": state.history,
                "best_epoch": state.best_epoch,
                "stopped": state.stopped,
            }
            (writing / PROGRESS).write_text(json.dumps(progress), encoding="utf-8")
            with suppress(OSError):  # the same epoch of the same run is there already
                os.replace(writing, self.folder / f"epoch-{state.epoch:06d}")
            for folder in (*older, writing):
                shutil.rmtree(folder, ignore_errors=True)
        self.accelerator.wait_for_everyone()

    def resume(self, state: TrainingState) -> None:
        """Bring model, optimizer and state to the newest checkpoint, if there is one.

        Raises:
            CheckpointError: the newest checkpoint cannot be read.
        """
        epochs = self._epochs()
        if not epochs:
            return
        newest = epochs[-1]
        try:
            progress = json.loads((newest / PROGRESS).read_text(encoding="utf-8"))
            best_weights: dict[str, Tensor] = load_file(newest / BEST)
            with untouched_python_and_numpy():
                self.accelerator.load_state(str(newest))
            state.epoch, state.history = progress["epoch"], progress["history"]
            state.best_epoch, state.stopped = progress["best_epoch"], progress["stopped"]
        except Exception as error:  # torch, safetensors and json each raise their own kinds
            raise CheckpointError(
                f"checkpoint {str(newest)!r} cannot be read ({type(error).__name__}); "
                "delete it to start again"
            ) from error
        state.best_weights = best_weights

    def _epochs(self) -> list[Path]:
        return sorted(self.folder.glob("epoch-*"))
