"""One trial: a model is trained, its best epoch is tested, and its heads are looked at."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from primaldual.analysis import head_report
from primaldual.training import Execution, TrainingSettings, train
from primaldual.training.accelerators import run_accelerator
from primaldual.training.batches import Batch, Data
from primaldual.training.objectives import Objective
from primaldual.training.validation import mean_loss_and_score

LOOKED_AT = 32
"""Cases on which the heads are compared."""


@dataclass(frozen=True)
class Trial:
    """A fresh model and everything that it is trained and tested with.

    Attributes:
        model: with weights that depend on the seed alone, as far as attentions have the same.
        objective: its metric is the score; higher is better.
        settings: of training.
        training: to learn from.
        validation: a part of the training data that chooses the epoch.
        test: read once.
    """

    model: nn.Module
    objective: Objective
    settings: TrainingSettings
    training: Data
    validation: Data
    test: Data

    def sample(self, cases: int) -> Batch:
        """The first cases of the training part."""
        return next(self.training.load([torch.arange(cases)], seed=0))

    def step(self) -> None:
        """One forward and backward pass over a batch of training cases."""
        batch = self.sample(self.settings.batch_size)
        self.model.zero_grad(set_to_none=True)
        self.objective.loss(self.model(*batch.inputs), batch.targets).mean().backward()


def outcome(trial: Trial, explore: bool) -> dict[str, float]:
    """Train and score.

    Args:
        trial: fresh.
        explore: score the validation part; the test part is not read.

    Returns:
        score, processor seconds of training, epoch that was kept, and of the heads: entropy of the weights, mean
        distance between the maps of two heads, mean likeness (linear CKA) of their outputs.
    """
    start = time.process_time()
    state = train(
        trial.model,
        trial.objective,
        trial.settings,
        trial.training,
        trial.validation,
        execution=Execution(device="cpu"),
    )
    seconds = time.process_time() - start
    trial.model.load_state_dict(state.best_weights)
    found = {
        "score": score_of(trial, trial.validation if explore else trial.test),
        "seconds": seconds,
        "epoch": state.best_epoch,
        "parameters": sum(weight.numel() for weight in trial.model.parameters()),
    }
    return {name: round(value, 5) for name, value in {**found, **heads_of(trial)}.items()}


def score_of(trial: Trial, data: Data) -> float:
    """The metric of the objective on a part."""
    trial.model.eval()

    def outputs_of(batch: Batch) -> Tensor:
        outputs: Tensor = trial.model(*batch.inputs)
        return outputs

    with run_accelerator("cpu") as accelerator:
        size = 4 * trial.settings.batch_size
        _, score = mean_loss_and_score(outputs_of, trial.objective, data, size, accelerator)
    return trial.objective.metric(score)


def heads_of(trial: Trial) -> dict[str, float]:
    """How the heads attend after training, means over layers; NaN where weights are not a distribution."""
    layers = head_report(trial.model, trial.sample(LOOKED_AT).inputs, ablate=False).layers
    pairs = torch.triu_indices(len(layers[0].entropy), len(layers[0].entropy), offset=1)
    return {
        "entropy": float(torch.stack([layer.entropy for layer in layers]).mean()),
        "head_distance": float(np.mean([layer.redundancy for layer in layers])),
        "head_likeness": float(torch.stack([layer.likeness[pairs[0], pairs[1]] for layer in layers]).mean()),
    }
