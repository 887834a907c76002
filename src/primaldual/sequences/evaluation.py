"""A trained classifier on test sequences."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import nn

from primaldual.experiments.class_scores import calibration_error, top_accuracy
from primaldual.sequences.token_data import TokenData
from primaldual.training.examples import sorted_batches


@dataclass(frozen=True)
class Evaluation:
    """What was found on the test part.

    Attributes:
        cases: how many.
        accuracy: share of cases whose largest logit is the label's.
        calibration_error: see :func:`primaldual.experiments.class_scores.calibration_error`.
        log_loss: mean negative log-likelihood.
        throughput: cases per second that the model classified, without loading.
    """

    cases: int
    accuracy: float
    calibration_error: float
    log_loss: float
    throughput: float


@torch.no_grad()
def evaluate(model: nn.Module, data: TokenData, batch_size: int) -> Evaluation:
    """Classify the test sequences, in evaluation mode and without gradients.

    Args:
        model: gives logits.
        data: the test part.
        batch_size: cases at a time.
    """
    device, training = next(model.parameters()).device, model.training
    model.eval()
    outputs, targets, seconds = [], [], 0.0
    for on_host in data.load(sorted_batches(data.lengths, batch_size), seed=0):
        batch = on_host.to(device)
        start = time.perf_counter()
        outputs.append(model(*batch.inputs).float().cpu())
        seconds += time.perf_counter() - start
        targets.append(on_host.targets)
    model.train(training)
    logits, labels = torch.cat(outputs), torch.cat(targets)
    loss = nn.functional.cross_entropy(logits.double(), labels)
    return Evaluation(
        len(data),
        top_accuracy(logits, labels),
        calibration_error(logits, labels),
        float(loss),
        len(data) / max(seconds, 1e-9),
    )
