"""Mixup and CutMix of a batch, through timm."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from primaldual.experiments.inspection.subject import needed
from primaldual.images.recipes import Recipe


class Mixing:
    """Mixes every image of a batch with another one, and their targets in the same proportions.

        x = lambda x_i + (1 - lambda) x_j,   y = lambda y_i + (1 - lambda) y_j

    CutMix takes a rectangle of x_j whose share of the area is 1 - lambda instead. Smoothing of labels is left to the
    loss. One factor serves a batch; timm mixes pairs, so the last image of an odd batch stays as it is.

    Args:
        recipe: with ``mixup`` or ``cutmix``.
        classes: number of classes.
    """

    def __init__(self, recipe: Recipe, classes: int) -> None:
        mixup = needed("timm.data.mixup", "vision")
        self._mixup: Any = mixup.Mixup(
            mixup_alpha=recipe.mixup, cutmix_alpha=recipe.cutmix, label_smoothing=0.0, num_classes=classes
        )

    @classmethod
    def of(cls, recipe: Recipe, classes: int) -> Mixing | None:
        """The mixing of a recipe; None where it has none."""
        return cls(recipe, classes) if recipe.mixup or recipe.cutmix else None

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Mixed images, and probabilities (images, classes)."""
        even = len(images) - len(images) % 2
        rest = one_hot(labels[even:], self._mixup.num_classes).to(images.dtype)
        if not even:
            return images, rest
        mixed, targets = self._mixup(images[:even], labels[:even])
        return torch.cat([mixed, images[even:]]), torch.cat([targets, rest])
