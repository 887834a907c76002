"""A trained image classifier with its classes: load, predict."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file
from torch import nn

from primaldual.errors import CheckpointError, DataError
from primaldual.experiments.inspection.images import opened, three_colours
from primaldual.images.networks import build_network
from primaldual.images.transforms import test_view
from primaldual.training.described_weights import config_change
from primaldual.training.run_folders import CONFIG, WEIGHTS

_AT_ONCE = 64
"""Images of a forward pass."""
_NEEDED = ("image_size", "classes", "model", "attention")
"""What the config of an image classifier tells."""


class ImageClassifier:
    """A model of timm, the classes of its outputs and the size of its images.

        p(class | image) = softmax(model(view(image)))

    The view is that of the test images in training: small images are resized, of larger ones the middle is seen.

    Args:
        model: gives logits (images, classes) of (images, 3, image_size, image_size).
        classes: names, in the order of the outputs.
        image_size: pixels a side.

    Example:
        >>> from primaldual.images.networks import build_network
        >>> network = build_network("vit_micro", "bn", classes=2, image_size=8)
        >>> classifier = ImageClassifier(network, ("cat", "dog"), image_size=8)
        >>> classifier.predict_proba(np.zeros((3, 20, 30, 3), dtype=np.uint8)).shape
        (3, 2)
    """

    def __init__(self, model: nn.Module, classes: Sequence[str], image_size: int) -> None:
        self.model, self.classes, self.image_size = model.eval(), tuple(classes), image_size

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> ImageClassifier:
        """The classifier in a folder of ``primaldual train images``.

        Raises:
            CheckpointError: the folder holds no such classifier, a broken one, or a config that was changed since.
        """
        place = Path(folder).expanduser()
        for name in (CONFIG, WEIGHTS):
            if not (place / name).is_file():
                raise CheckpointError(
                    f"model {str(folder)!r} holds no trained image classifier: it has no {name}"
                )
        try:
            config = json.loads((place / CONFIG).read_text(encoding="utf-8"))
            model, attention = config["model"], config["attention"]
            classes, size = config["classes"], config["image_size"]
            network = build_network(model, attention, len(classes), size)
            network.load_state_dict(load_file(place / WEIGHTS))
            changed = config_change(place / WEIGHTS, config, _NEEDED)
        except Exception as error:  # json, timm, safetensors and torch each raise their own kinds
            reason = " ".join(str(error).split())[:200]
            raise CheckpointError(
                f"model {str(folder)!r} holds no image classifier that can be read: {type(error).__name__}: {reason}"
            ) from error
        if changed:
            raise CheckpointError(
                f"model {str(folder)!r} holds no image classifier that can be read: {changed}"
            )
        return cls(network, classes, size)

    @torch.no_grad()
    def predict_proba(self, images: Iterable[Any]) -> npt.NDArray[np.float64]:
        """Probabilities of the classes.

        Args:
            images: paths of files, images of Pillow, or uint8 arrays (height, width) or (height, width, 3); of any
                sizes. An array (images, height, width) or (images, height, width, 3) is that many images.

        Returns:
            (images, classes); a row is the same whatever other images are there, but for rounding.

        Raises:
            DataError: no images, one that stands alone, a file that cannot be read, or an array of another shape or type.
        """
        if isinstance(images, str | bytes | os.PathLike) or not isinstance(images, Iterable):
            raise DataError(f"images must be several, as [image] is; got one {type(images).__name__}")
        if isinstance(images, np.ndarray) and images.ndim == 3 and images.shape[-1] == 3:
            raise DataError(
                f"images of shape {images.shape} may be one in colour or {len(images)} in grey; accepted are images[None] "
                "and a list"
            )
        view, weights = test_view(self.image_size), next(self.model.parameters())
        views, rows = map(view, _pictures(images)), []
        while some := list(islice(views, _AT_ONCE)):
            rows.append(self.model(torch.stack(some).to(weights)).double().softmax(1).cpu().numpy())
        if not rows:
            raise DataError("images must hold one image or more; got none")
        return np.concatenate(rows)

    def predict(self, images: Iterable[Any]) -> npt.NDArray[np.str_]:
        """The likeliest class of every image, (images,); see `predict_proba`."""
        return np.array(self.classes)[self.predict_proba(images).argmax(1)]


def holds_image_classifier(folder: str | os.PathLike[str]) -> bool:
    """Whether the config in a folder is that of an image classifier."""
    try:
        config = json.loads((Path(folder).expanduser() / CONFIG).read_text(encoding="utf-8"))
        return all(name in config for name in _NEEDED)
    except (OSError, RuntimeError, ValueError, TypeError, RecursionError):
        return False


def _pictures(images: Iterable[Any]) -> Iterator[Any]:
    """Images of Pillow in three colours."""
    from PIL.Image import Image, fromarray

    for number, one in enumerate(images):
        if isinstance(one, str | os.PathLike):
            yield opened(Path(one).expanduser())
        elif isinstance(one, Image):
            yield three_colours(one)
        else:
            pixels = np.asarray(one)
            grey, coloured = pixels.ndim == 2, pixels.ndim == 3 and pixels.shape[-1] == 3
            if pixels.dtype != np.uint8 or not (grey or coloured) or 0 in pixels.shape:
                raise DataError(
                    f"image {number} must be uint8 of shape (height, width) or (height, width, 3); "
                    f"got {pixels.dtype} of shape {pixels.shape}"
                )
            yield fromarray(pixels).convert("RGB")
