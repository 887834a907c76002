"""Attention rollout of test images, on the grid of patches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from primaldual.analysis.attention_maps import capture_attention
from primaldual.analysis.rollout import attention_rollout
from primaldual.errors import UnsupportedError
from primaldual.images.runs import ImageRun
from primaldual.images.transforms import pixels_of

Picture = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ExampleRollout:
    """What one test image looks like and what the heads draw on.

    Attributes:
        image: (height, width, 3) from 0 to 1.
        label: its class.
        predicted: the class with the largest logit.
        layers: for each layer (heads, rows, columns): the share of every patch in the output.
    """

    image: Picture
    label: str
    predicted: str
    layers: tuple[Picture, ...]


def example_rollouts(run: ImageRun, count: int) -> list[ExampleRollout]:
    """Rollouts of the first test images of different classes.

    The output is the class token where the model reads it, else the mean of all tokens. A model whose tokens are no
    grid behind lone tokens has none.

    Args:
        run: finished.
        count: how many images, at most.
    """
    _, first = np.unique(run.test.images.labels, return_index=True)
    [batch] = run.test.load([torch.from_numpy(np.sort(first)[:count])], seed=0)
    classes, model = run.config["classes"], run.model
    device = next(model.parameters()).device
    model.eval()
    try:
        with torch.no_grad(), capture_attention(model) as maps:
            logits = model(batch.images.to(device)).cpu()
        grid, prefix = _grid(model)
    except UnsupportedError:
        return []
    if {one.weights.shape[-1] for one in maps} != {prefix + grid[0] * grid[1]}:
        return []
    found = []
    rolled = [_of_output(model, layer, prefix).cpu() for layer in attention_rollout(maps)]
    for number, (image, label) in enumerate(zip(batch.images, batch.targets.tolist(), strict=True)):
        layers = tuple(layer[number].unflatten(-1, grid).numpy() for layer in rolled)
        pixels = pixels_of(image).permute(1, 2, 0).double().numpy()
        found.append(ExampleRollout(pixels, classes[label], classes[int(logits[number].argmax())], layers))
    return found


def _grid(model: Any) -> tuple[tuple[int, int], int]:
    embedding = getattr(model, "patch_embed", None)
    if not isinstance(embedding, nn.Module) or not hasattr(embedding, "grid_size"):
        raise UnsupportedError("the model does not state the grid of its patches")
    size: Any = embedding.grid_size
    return (int(size[0]), int(size[1])), int(getattr(model, "num_prefix_tokens", 0))


def _of_output(model: Any, rolled: torch.Tensor, prefix: int) -> torch.Tensor:
    """(batch, heads, patches): the row of the class token, or the mean of all rows."""
    reads_token = prefix > 0 and getattr(model, "global_pool", "token") == "token"
    row = rolled[:, :, 0] if reads_token else rolled.mean(2)
    return row[..., prefix:]
