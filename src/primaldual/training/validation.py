"""Loss and score on a validation part, over all processes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from accelerate import Accelerator
from torch import Tensor

from primaldual.training.batches import Batch, Data
from primaldual.training.examples import shard, sorted_batches
from primaldual.training.objectives import Objective


@torch.no_grad()
def mean_loss_and_score(
    outputs_of: Callable[[Batch], Tensor],
    objective: Objective,
    data: Data,
    batch_size: int,
    accelerator: Accelerator,
) -> tuple[float, float]:
    """The weighted mean of the losses and the mean of the scores; every process computes its share of the batches.

    Args:
        outputs_of: calls the model, which is in evaluation mode.
        objective: loss and score.
        data: the validation part.
        batch_size: cases at a time.
        accelerator: of the run.
    """
    batches = sorted_batches(data.lengths, batch_size)
    mine = shard(batches, accelerator.process_index, accelerator.num_processes)
    loaded = data.load([cases for cases, _ in mine], seed=0)
    sums = torch.zeros(4, device=accelerator.device)
    for (_, counts), on_host in zip(mine, loaded, strict=True):
        batch = on_host.to(accelerator.device)
        outputs = outputs_of(batch)
        losses = objective.loss(outputs, batch.targets) * batch.weights
        scores = objective.score(outputs, batch.targets)
        count = batch.weights.new_tensor(float(len(batch)))
        sums += counts * torch.stack([losses.sum(), batch.weights.sum(), scores.sum(), count])
    loss, weight, score, count_all = accelerator.reduce(sums, "sum").tolist()
    return loss / weight, score / count_all
