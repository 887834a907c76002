"""A trained classifier on test images, as they are and corrupted."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from primaldual.experiments.class_scores import scores_of, top_accuracy
from primaldual.images.corruptions import CORRUPTIONS, SEVERITIES, corrupted
from primaldual.images.image_data import ImageData
from primaldual.training.randomness import derive_seed

CORRUPTED_AT_MOST = 2000
"""Images that every corruption is tried on, drawn from the test part once."""

Hear = Callable[[str], None]


@dataclass(frozen=True)
class Evaluation:
    """What was found on the test part.

    Attributes:
        images: how many.
        scores: see `scores_of`.
        throughput: images per second that the model classified, without loading.
        corrupted_images: how many images were corrupted.
        corrupted: top-1 accuracy by kind and severity; empty where none was tried.
    """

    images: int
    scores: dict[str, float]
    throughput: float
    corrupted_images: int
    corrupted: dict[str, dict[int, float]]


def evaluate(
    model: nn.Module,
    data: ImageData,
    batch_size: int,
    corruptions: bool = True,
    hear: Hear = lambda words: None,
) -> Evaluation:
    """Classify the test images, in evaluation mode and without gradients.

    Args:
        model: gives logits.
        data: the test part, with the test view.
        batch_size: images at a time.
        corruptions: try `CORRUPTIONS` as well, at `SEVERITIES`.
        hear: told what is under way.
    """
    logits, seconds = _logits(model, data, batch_size)
    labels = torch.from_numpy(data.images.labels)
    found: dict[str, dict[int, float]] = {}
    fewer = _some(data)
    for kind in CORRUPTIONS if corruptions else ():
        hear(f"testing under {kind}")
        found[kind] = {}
        for severity in SEVERITIES:
            outputs, _ = _logits(model, replace(fewer, change=corrupted(kind, severity)), batch_size)
            found[kind][severity] = top_accuracy(outputs, torch.from_numpy(fewer.images.labels))
    count = len(fewer) if corruptions else 0
    return Evaluation(len(data), scores_of(logits, labels), len(data) / seconds, count, found)


@torch.no_grad()
def _logits(model: nn.Module, data: ImageData, batch_size: int) -> tuple[Tensor, float]:
    """(images, classes), and the seconds that the model took."""
    device, training = next(model.parameters()).device, model.training
    model.eval()
    found, seconds = [], 0.0
    for batch in data.load(list(torch.arange(len(data)).split(batch_size)), seed=0):
        images = batch.images.to(device)
        start = time.perf_counter()
        found.append(model(images).float().cpu())
        seconds += time.perf_counter() - start
    model.train(training)
    return torch.cat(found), max(seconds, 1e-9)


def _some(data: ImageData) -> ImageData:
    if len(data) <= CORRUPTED_AT_MOST:
        return data
    drawn = torch.randperm(len(data), generator=torch.Generator().manual_seed(derive_seed(0)))
    return replace(data, images=data.images.part(drawn[:CORRUPTED_AT_MOST].sort().values.numpy()))
