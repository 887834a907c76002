"""The training loop: small, explicit, the same for one process, DDP and FSDP."""

import math
import os
import time
from collections.abc import Iterable, Sequence

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import Tensor, nn

from primaldual.errors import DataError
from primaldual.training.accelerators import run_accelerator
from primaldual.training.augmentation import AUGMENTATIONS
from primaldual.training.callbacks import Callback, Record, TrainingInterrupted, TrainingState
from primaldual.training.checkpoint import RunCheckpoints, run_fingerprint
from primaldual.training.examples import Examples, shard, shuffled_batches, sorted_batches
from primaldual.training.objectives import Objective
from primaldual.training.optimizers import OPTIMIZERS
from primaldual.training.precision import PRECISIONS
from primaldual.training.randomness import derive_seed, private_torch_randomness
from primaldual.training.schedules import SCHEDULES, learning_rate_factor
from primaldual.training.settings import TrainingSettings


def train(
    model: nn.Module,
    objective: Objective,
    settings: TrainingSettings,
    training: Examples,
    validation: Examples | None = None,
    callbacks: Sequence[Callback] = (),
    checkpoint_dir: str | os.PathLike[str] | None = None,
    device: str | None = None,
) -> TrainingState:
    """Train a model, keep the weights of the best epoch: highest validation metric, then lowest loss.

    Without a validation part the last weights are kept. Every epoch is seeded by itself, so a run that is
    resumed from a checkpoint equals one that was never interrupted. Ctrl-C ends training with a ``KeyboardInterrupt``,
    which after the first epoch is a `TrainingInterrupted` with the state so far; the checkpoint of the last finished
    epoch stays usable.

    Args:
        model: called as ``model(values, padding)``; gives (batch, outputs).
        objective: loss and score.
        settings: how to train.
        training: the training part.
        validation: the validation part, for early stopping.
        callbacks: called on the main process.
        checkpoint_dir: folder of checkpoints, written after every epoch; the same run resumes from there.
        device: where to train, such as "cpu" or "cuda"; None = a GPU where there is one.

    Returns:
        The final state; ``best_weights`` holds the weights to use.

    Raises:
        ArgumentError: a device that cannot be used.
        DataError: a loss is not finite.
        CheckpointError: the checkpoint cannot be read or written.

    Example:
        >>> from primaldual.models import TimeSeriesTransformer
        >>> from primaldual.training import Classification
        >>> data = Examples(torch.randn(6, 5, 1), None, torch.tensor([0, 1] * 3), torch.ones(6))
        >>> model = TimeSeriesTransformer(channels=1, length=5, outputs=2)
        >>> train(model, Classification(), TrainingSettings(epochs=2), data).epoch
        2
    """
    with private_torch_randomness(settings.seed), run_accelerator(device) as accelerator:
        return _Run(
            model, objective, settings, training, validation, callbacks, checkpoint_dir, accelerator
        ).result()


class _Run:
    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        settings: TrainingSettings,
        training: Examples,
        validation: Examples | None,
        callbacks: Iterable[Callback],
        checkpoint_dir: str | os.PathLike[str] | None,
        accelerator: Accelerator,
    ) -> None:
        self.objective, self.settings = objective, settings
        self.training, self.validation = training, validation
        self.accelerator = accelerator
        self.callbacks = list(callbacks) if self.accelerator.is_main_process else []
        self.model = self.accelerator.prepare_model(model)
        self.optimizer = self.accelerator.prepare_optimizer(
            OPTIMIZERS[settings.optimizer](
                self.model.parameters(), settings.learning_rate, settings.weight_decay
            )
        )
        self.state = TrainingState(self.model, settings)
        self.checkpoints: RunCheckpoints | None = None
        if checkpoint_dir is not None:
            plain = self.accelerator.unwrap_model(self.model)
            fingerprint = run_fingerprint(plain, objective, settings, training, validation)
            self.checkpoints = RunCheckpoints(checkpoint_dir, fingerprint, self.accelerator)
            self.checkpoints.resume(self.state)

    def result(self) -> TrainingState:
        state = self.state
        for callback in self.callbacks:
            callback.on_train_begin(state)
        try:
            while state.epoch < self.settings.epochs and not state.stopped:
                self._epoch()
        except KeyboardInterrupt as interrupt:
            if not state.best_epoch:
                raise
            raise TrainingInterrupted(state) from interrupt
        finally:
            for callback in self.callbacks:
                callback.on_train_end(state)
        if self.accelerator.num_processes > 1:
            shared = [state.best_weights]
            broadcast_object_list(shared)
            state.best_weights = shared[0]
        return state

    def _epoch(self) -> None:
        state, started = self.state, time.perf_counter()
        train_loss, learning_rate = self._optimise(state.epoch)
        state.epoch += 1
        record: Record = {"epoch": state.epoch, "train_loss": train_loss}
        if self.validation is None:
            record |= {"validation_loss": None, "validation_metric": None}
        else:
            loss, score = self._evaluate(self.validation)
            record |= {"validation_loss": loss, "validation_metric": self.objective.metric(score)}
        record |= {"learning_rate": learning_rate, "seconds": time.perf_counter() - started}
        state.history.append(record)
        self._keep_best()
        for callback in self.callbacks:
            callback.on_epoch_end(state)
        state.stopped = bool(self._total(torch.tensor([float(state.stopped)]))[0] > 0)
        if self.checkpoints is not None:
            self.checkpoints.save(state)

    def _optimise(self, epoch: int) -> tuple[float, float]:
        settings, device = self.settings, self.accelerator.device
        process, processes = self.accelerator.process_index, self.accelerator.num_processes
        order = torch.Generator().manual_seed(derive_seed(settings.seed, epoch))
        torch.manual_seed(derive_seed(settings.seed, epoch, process))
        batches = shard(
            shuffled_batches(self.training.lengths, settings.batch_size, order), process, processes
        )
        steps, warmup = settings.epochs * len(batches), settings.warmup_epochs * len(batches)
        learning_rate, sums = settings.learning_rate, torch.zeros(2, device=device)
        augment = AUGMENTATIONS[settings.augmentation]
        self.model.train()
        for index, (indices, _) in enumerate(batches):
            step = epoch * len(batches) + index
            factor = learning_rate_factor(SCHEDULES[settings.schedule], step, warmup, steps)
            learning_rate = settings.learning_rate * factor
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate
            batch = augment(self.training.take(indices).to(device))
            losses = self.objective.loss(self._outputs(batch), batch.targets) * batch.weights
            self.accelerator.backward(losses.sum() / batch.weights.sum())
            if settings.gradient_clip is not None:
                self.accelerator.clip_grad_norm_(self.model.parameters(), settings.gradient_clip)
            self.optimizer.step()
            self.optimizer.zero_grad()
            sums += torch.stack([losses.detach().sum(), batch.weights.sum()])
        total, weight = self._total(sums).tolist()
        return self._finite("training", total / weight), learning_rate

    @torch.no_grad()
    def _evaluate(self, examples: Examples) -> tuple[float, float]:
        process, processes = self.accelerator.process_index, self.accelerator.num_processes
        batches = shard(sorted_batches(examples.lengths, 4 * self.settings.batch_size), process, processes)
        sums = torch.zeros(4, device=self.accelerator.device)
        self.model.eval()
        for indices, counts in batches:
            batch = examples.take(indices).to(self.accelerator.device)
            outputs = self._outputs(batch)
            losses = self.objective.loss(outputs, batch.targets) * batch.weights
            scores = self.objective.score(outputs, batch.targets)
            count = batch.weights.new_tensor(float(len(batch)))
            sums += counts * torch.stack([losses.sum(), batch.weights.sum(), scores.sum(), count])
        loss, weight, score, count_all = self._total(sums).tolist()
        return self._finite("validation", loss / weight), score / count_all

    def _finite(self, part: str, loss: float) -> float:
        if math.isfinite(loss):
            return loss
        raise DataError(
            f"the {part} loss is {loss} after {self.state.epoch} finished epochs; a learning_rate below "
            f"{self.settings.learning_rate} or values of smaller scale may help"
        )

    def _outputs(self, batch: Examples) -> Tensor:
        with PRECISIONS[self.settings.mixed_precision](self.accelerator.device):
            outputs: Tensor = self.model(batch.values, batch.padding)
        return outputs.float()

    def _total(self, sums: Tensor) -> Tensor:
        total: Tensor = self.accelerator.reduce(sums.to(self.accelerator.device), "sum")
        return total

    def _keep_best(self) -> None:
        state, patience = self.state, self.settings.patience
        if state.newest_is_best():
            weights = self.accelerator.get_state_dict(self.model)
            state.best_weights = {
                name: tensor.detach().cpu().clone().contiguous() for name, tensor in weights.items()
            }
            state.best_epoch = state.epoch
        elif patience is not None and state.epoch - state.best_epoch >= patience:
            state.stop()
