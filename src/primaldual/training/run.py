"""One run of the loop: epochs, steps, checkpoints, the best weights."""

import math
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import Tensor, nn

from primaldual.errors import DataError
from primaldual.training.augmentation import AUGMENTATIONS
from primaldual.training.batches import Batch, Data, Piece, pieces
from primaldual.training.callbacks import Callback, Record, TrainingInterrupted, TrainingState
from primaldual.training.checkpoint import RunCheckpoints, run_fingerprint
from primaldual.training.examples import shuffled_batches
from primaldual.training.execution import Execution
from primaldual.training.objectives import Objective
from primaldual.training.optimizers import OPTIMIZERS
from primaldual.training.precision import PRECISIONS
from primaldual.training.randomness import derive_seed
from primaldual.training.schedules import SCHEDULES, learning_rate_factor
from primaldual.training.settings import TrainingSettings
from primaldual.training.termination import Termination, TrainingTerminated
from primaldual.training.validation import mean_loss_and_score
from primaldual.training.weight_average import WeightAverage

_AGREEMENT = 8
"""Steps after which processes with accelerators ask each other again whether one got SIGTERM, for they wait for it."""


class TrainingRun:
    """A run from its preparation to its result; `primaldual.training.train` tells what the arguments are."""

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        settings: TrainingSettings,
        training: Data,
        validation: Data | None,
        callbacks: Iterable[Callback],
        execution: Execution,
        accelerator: Accelerator,
    ) -> None:
        self.objective, self.settings, self.execution = objective, settings, execution
        self.training, self.validation = training, validation
        self.accelerator = accelerator
        self.process, self.processes = accelerator.process_index, accelerator.num_processes
        self.callbacks = list(callbacks) if accelerator.is_main_process else []
        folder = execution.checkpoint_dir
        fingerprint = folder and run_fingerprint(model, objective, settings, training, validation)
        self.model, self.optimizer = accelerator.prepare(
            model,
            OPTIMIZERS[settings.optimizer](model.parameters(), settings.learning_rate, settings.weight_decay),
        )
        plain = accelerator.unwrap_model(self.model)
        self.average = None if settings.ema_decay is None else WeightAverage(plain, settings.ema_decay)
        self.state = TrainingState(self.model, settings, steps=-(-len(training) // settings.batch_size))
        epochs = settings.epochs * self.state.steps
        self.state.last_step = epochs if settings.steps is None else min(settings.steps, epochs)
        self.checkpoints: RunCheckpoints | None = None
        if folder is not None:
            self.checkpoints = RunCheckpoints(folder, str(fingerprint), accelerator, self.average)
            self.checkpoints.resume(self.state)

    def result(self, termination: Termination) -> TrainingState:
        """Train until the last step, a stop, or SIGTERM."""
        state = self.state
        for callback in self.callbacks:
            callback.on_train_begin(state)
        try:
            while state.total_steps < state.last_step and not state.stopped:
                self._epoch(termination)
        except KeyboardInterrupt as interrupt:
            if not state.best_epoch:
                raise
            raise TrainingInterrupted(state) from interrupt
        finally:
            for callback in self.callbacks:
                callback.on_train_end(state)
        if self.processes > 1:
            shared = [state.best_weights]
            broadcast_object_list(shared)
            state.best_weights = shared[0]
        return state

    def _epoch(self, termination: Termination) -> None:
        state = self.state
        train_loss, learning_rate = self._optimise(termination)
        (training, loading), validating = state.times, time.perf_counter()
        state.epoch, state.step, state.loss_sums, state.times = state.epoch + 1, 0, (0.0, 0.0), (0.0, 0.0)
        record: Record = {"epoch": state.epoch, "train_loss": train_loss}
        with self._averaged():
            if self.validation is None:
                record |= {"validation_loss": None, "validation_metric": None}
            else:
                self.model.eval()
                loss, score = mean_loss_and_score(
                    self._outputs,
                    self.objective,
                    self.validation,
                    4 * self.settings.batch_size,
                    self.accelerator,
                )
                loss = self._finite("validation", loss)
                record |= {"validation_loss": loss, "validation_metric": self.objective.metric(score)}
            record |= {"learning_rate": learning_rate, "seconds": training + time.perf_counter() - validating}
            state.history.append(record | {"training_seconds": training, "loading_seconds": loading})
            self._keep_best()
        for callback in self.callbacks:
            callback.on_epoch_end(state)
        state.stopped = self._any(state.stopped)
        if self.checkpoints is not None:
            self.checkpoints.save(state)
            if self._any(termination.asked):
                raise TrainingTerminated

    def _optimise(self, termination: Termination) -> tuple[float, float]:
        """Training loss and last learning rate of what is left of an epoch."""
        settings, state = self.settings, self.state
        order = torch.Generator().manual_seed(derive_seed(settings.seed, state.epoch))
        if state.step == 0:  # else the generators are those of the checkpoint
            torch.manual_seed(derive_seed(settings.seed, state.epoch, self.process))
        batches = shuffled_batches(self.training.lengths, settings.batch_size, order)
        batches = batches[state.step : state.last_step - state.epoch * state.steps]
        accumulation = self.execution.accumulation
        parts = pieces(batches, self.training.weights, self.process, self.processes, accumulation)
        loaded = self.training.load([piece.cases for piece in parts], derive_seed(settings.seed, state.epoch))
        sums = torch.tensor(state.loss_sums if self.process == 0 else (0.0, 0.0))
        sums, started = sums.to(self.accelerator.device), time.perf_counter() - state.times[0]
        self.model.train()
        for index in range(len(batches)):
            self._set_learning_rate()
            for turn, piece in enumerate(parts[index * accumulation : (index + 1) * accumulation]):
                asked = time.perf_counter()
                batch = next(loaded).to(self.accelerator.device)
                state.times = state.times[0], state.times[1] + time.perf_counter() - asked
                with self._together(turn == accumulation - 1):
                    sums += self._backward(batch, piece)
            self._step()
            state.times = time.perf_counter() - started, state.times[1]
            self._after_step(sums, termination)
        total, weight = self._total(sums).tolist()
        learning_rate = float(self.optimizer.param_groups[0]["lr"])
        return self._finite("training", total / weight), learning_rate

    def _set_learning_rate(self) -> None:
        settings, state = self.settings, self.state
        warmup = settings.warmup_steps
        if warmup is None:
            warmup = settings.warmup_epochs * state.steps
        schedule = SCHEDULES[settings.schedule]
        factor = learning_rate_factor(schedule, state.total_steps, warmup, state.last_step)
        for group in self.optimizer.param_groups:
            group["lr"] = settings.learning_rate * factor

    def _backward(self, batch: Batch, piece: Piece) -> Tensor:
        """Add a piece's share to the gradients; its weighted losses and weights."""
        batch = AUGMENTATIONS[self.settings.augmentation](batch)
        weights = batch.weights if piece.counts else torch.zeros_like(batch.weights)
        losses = self.objective.loss(self._outputs(batch), batch.targets) * weights
        # DDP averages the gradients of processes, and the mean is over the whole batch.
        self.accelerator.backward(losses.sum() / (piece.weight / self.processes))
        return torch.stack([losses.detach().sum(), weights.sum()])

    def _step(self) -> None:
        if self.settings.gradient_clip is not None:
            self.accelerator.clip_grad_norm_(self.model.parameters(), self.settings.gradient_clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.state.step += 1
        if self.average is not None:
            self.average.update(self.state.total_steps)

    def _after_step(self, sums: Tensor, termination: Termination) -> None:
        for callback in self.callbacks:
            callback.on_step_end(self.state)
        if self.checkpoints is None:
            return
        every, done = self.execution.checkpoint_every, self.state.total_steps
        asking = self.accelerator.device.type == "cpu" or self.processes == 1 or done % _AGREEMENT == 0
        ending = asking and self._any(termination.asked)
        if ending or (every is not None and done % every == 0):
            losses, weights = self._total(sums).tolist()
            self.state.loss_sums = losses, weights
            self.checkpoints.save(self.state)
        if ending:
            raise TrainingTerminated

    def _finite(self, part: str, loss: float) -> float:
        if math.isfinite(loss):
            return loss
        raise DataError(
            f"the {part} loss is {loss} after {self.state.epoch} finished epochs; a learning_rate below "
            f"{self.settings.learning_rate} or values of smaller scale may help"
        )

    def _outputs(self, batch: Batch) -> Tensor:
        with PRECISIONS[self.settings.mixed_precision](self.accelerator.device):
            outputs: Tensor = self.model(*batch.inputs)
        return outputs.float()

    def _total(self, sums: Tensor) -> Tensor:
        total: Tensor = self.accelerator.reduce(sums.to(self.accelerator.device), "sum")
        return total

    def _any(self, mine: bool) -> bool:
        """Whether it is so in any process."""
        return mine if self.processes == 1 else bool(self._total(torch.tensor(float(mine))) > 0)

    def _together(self, last: bool) -> AbstractContextManager[object]:
        """Gradients are summed over processes with the last piece of a step only."""
        return nullcontext() if last else self.accelerator.no_sync(self.model)

    def _averaged(self) -> AbstractContextManager[object]:
        return nullcontext() if self.average is None else self.average.in_place()

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
