"""Parts of CIFAR-10 and Fashion-MNIST for a vision transformer of timm that is small enough for many runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import timm
import torch
from torch import Tensor, nn

from benchmarks.comparison.trial import Trial
from primaldual.images.image_data import ImageBatch, ImageData
from primaldual.images.image_sets import ImageParts, ImageSet
from primaldual.images.known_sets import read_parts
from primaldual.images.transforms import test_view
from primaldual.integrations.conversion import convert
from primaldual.training import Classification, TrainingSettings
from primaldual.training.randomness import derive_seed

TRAINED, VALIDATED, TESTED = 2000, 500, 1000
"""Images of each part; every seed draws its own for training and validation, all have the same to be tested on."""
EPOCHS, BATCH, SMOOTHING = 2, 16, 0.1
SIDE = 24
"""Pixels to which images are resized: 36 patches of 4 x 4."""
SIZES = {"patch_size": 4, "embed_dim": 32, "depth": 2, "num_heads": 4, "mlp_ratio": 2}
READOUT = {"global_pool": "avg", "class_token": False, "weight_init": "jax"}
"""A class token and timm's first weights of deviation 0.02 carry too little of so narrow a model's input to learn fast."""
POSITIONS = 0.3
"""Deviation of the first positions; at timm's 0.02 a short run hardly learns where things are."""


@dataclass(frozen=True)
class Pictures(ImageData):
    """Images that are read once and stay as they are: nothing is drawn, and runs of one process share them."""

    @classmethod
    def of(cls, images: ImageSet) -> Pictures:
        """Images at `SIDE` pixels."""
        return cls(images, test_view(SIDE))

    @cached_property
    def whole(self) -> ImageBatch:
        """All images."""
        return next(super().load([torch.arange(len(self))], seed=0))

    def load(self, batches: Sequence[Tensor], seed: int) -> Iterator[ImageBatch]:
        """See `primaldual.training.Data.load`."""
        del seed
        for cases in batches:
            yield ImageBatch(self.whole.images[cases], self.whole.targets[cases], self.whole.weights[cases])


def cifar(attention: str, seed: int, rate: float, folder: Path) -> Trial:
    """``cifar10/train/<class>/*.jpg`` beside ``test``: JPEGs, so the pixels are not quite those of CIFAR-10."""
    return _trial(str(folder / "cifar10"), folder, attention, seed, rate)


def fashion(attention: str, seed: int, rate: float, folder: Path) -> Trial:
    """``FashionMNIST/raw``, as torchvision lays it out."""
    return _trial("fashion-mnist", folder, attention, seed, rate)


def _trial(data: str, folder: Path, attention: str, seed: int, rate: float) -> Trial:
    training, validation, test = _pictures(data, folder, seed)
    settings = TrainingSettings(
        epochs=EPOCHS,
        batch_size=BATCH,
        learning_rate=rate,
        weight_decay=0.05,
        optimizer="adamw_matrices",
        warmup_steps=EPOCHS * len(training) // BATCH // 10,
        seed=seed,
    )
    classes = len(_parts(data, folder).training.classes)
    model = _network(attention, classes, derive_seed(seed, 1))
    return Trial(model, Classification(SMOOTHING), settings, training, validation, test)


@cache
def _pictures(data: str, folder: Path, seed: int) -> tuple[Pictures, Pictures, Pictures]:
    parts = _parts(data, folder)
    drawn = np.random.default_rng(seed).permutation(len(parts.training))[: TRAINED + VALIDATED]
    tested = np.random.default_rng(0).permutation(len(parts.test))[:TESTED]
    return (
        Pictures.of(parts.training.part(drawn[:TRAINED])),
        Pictures.of(parts.training.part(drawn[TRAINED:])),
        Pictures.of(parts.test.part(tested)),
    )


@cache
def _parts(data: str, folder: Path) -> ImageParts:
    return read_parts(data, folder)


def _network(attention: str, classes: int, seed: int) -> nn.Module:
    """Scaled heads and convolutions lie on the grid of patches."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        model: nn.Module = timm.create_model(
            "vit_tiny_patch16_224", img_size=SIDE, num_classes=classes, **SIZES, **READOUT
        )
        nn.init.normal_(model.get_parameter("pos_embed"), std=POSITIONS)
        convert(model, attention, verbose=False)
    return model
