"""The network of an estimator: built, restored, applied."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from primaldual.models import TimeSeriesTransformer
from primaldual.training import Examples
from primaldual.training.examples import sorted_batches
from primaldual.training.progress import with_progress
from primaldual.training.randomness import private_torch_randomness

PREDICTION_BATCH = 256
"""Series per forward pass in prediction."""

Outputs = npt.NDArray[np.float64]


def build_network(settings: dict[str, Any], seed: int) -> TimeSeriesTransformer:
    """A network with random weights that follow from the seed alone."""
    with private_torch_randomness(seed):
        return TimeSeriesTransformer(**settings)


def restore_network(settings: dict[str, Any], weights: dict[str, Tensor]) -> TimeSeriesTransformer:
    """A network with given weights, ready to predict."""
    model = build_network(settings, seed=0)
    model.load_state_dict(weights)
    return model.eval()


def device_of(model: torch.nn.Module) -> torch.device:
    """Where the parameters are."""
    return next(model.parameters()).device


@torch.no_grad()
def apply_network(model: TimeSeriesTransformer, values: Tensor, padding: Tensor, progress: bool) -> Outputs:
    """Outputs for all series, batch by batch, short series with short ones."""
    unused = torch.zeros(len(values), device=values.device)
    examples = Examples(values, padding, unused, unused)
    batches = sorted_batches(examples.lengths, PREDICTION_BATCH)
    outputs = []
    for indices in with_progress(batches, "predicting", shown=progress):
        batch = examples.take(indices)
        outputs.append(model(batch.values, batch.padding).double().cpu())
    order = torch.cat(batches).cpu().argsort()
    in_order: Outputs = torch.cat(outputs)[order].numpy()
    return in_order
