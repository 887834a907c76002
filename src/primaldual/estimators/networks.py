"""The network of an estimator: built, restored, applied."""

from itertools import chain
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from primaldual.training import Examples
from primaldual.training.examples import sorted_batches
from primaldual.training.progress import with_progress
from primaldual.training.randomness import private_torch_randomness

PREDICTION_BATCH = 256
"""Series per forward pass in prediction."""

Network = TypeVar("Network", bound=torch.nn.Module)

Outputs = npt.NDArray[np.float64]


def build_network(settings: dict[str, Any], seed: int, kind: type[Network]) -> Network:
    """A network with random weights that follow from the seed alone."""
    with private_torch_randomness(seed):
        return kind(**settings)


def restore_network(settings: dict[str, Any], weights: dict[str, Tensor], kind: type[Network]) -> Network:
    """A network with given weights, ready to predict."""
    model = build_network(settings, 0, kind)
    model.load_state_dict(weights)
    return model.eval()


def device_of(model: torch.nn.Module) -> torch.device:
    """Where the weights are."""
    return next(chain(model.parameters(), model.buffers())).device


@torch.no_grad()
def apply_network(model: torch.nn.Module, values: Tensor, padding: Tensor, progress: bool) -> Outputs:
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
