"""Small images as sequences: scikit-learn's digits pixel by pixel, Fashion-MNIST patch by patch."""

from __future__ import annotations

import gzip
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.when_it_helps.tasks.task import EXPLORATION, Pair
from primaldual.data import Dataset
from primaldual.errors import DataError

FASHION = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package dataset-fashion-mnist puts its files."""

_DIGITS_KEPT_FOR_TEST = 500
_VALIDATION_FROM = 50_000


def digits(seed: int) -> Pair:
    """8x8 digits as 16 tokens of 2x2 pixels; the last 500 of a fixed order are the test part."""
    from sklearn.datasets import load_digits

    found = load_digits()
    images, labels = _patches((found.images - 4.9) / 6.0, 2), found.target
    order = np.random.default_rng(0).permutation(len(images))
    learned, kept = order[:-_DIGITS_KEPT_FOR_TEST], order[-_DIGITS_KEPT_FOR_TEST:]
    if seed >= EXPLORATION:
        learned = np.random.default_rng(seed).permutation(learned)
        learned, kept = learned[:1000], learned[1000:]
    return _pair("digits", images, labels, learned, kept)


class Fashion:
    """A subset of Fashion-MNIST as 49 tokens of 4x4 pixels, drawn anew for every seed.

    Args:
        name: of the task.
        folder: holds ``train-images-idx3-ubyte.gz`` and the other three files.
        train: images to learn from.
        test: images to be tested on, the first of the test part.
    """

    def __init__(self, name: str, folder: Path = FASHION, train: int = 2000, test: int = 2000) -> None:
        self.name, self.folder, self.train, self.test = name, folder, train, test

    def __call__(self, seed: int) -> Pair:
        """Train part, and test part or validation data."""
        images, labels = _fashion(self.folder, "train")
        generator = np.random.default_rng(seed)
        learned = generator.choice(_VALIDATION_FROM, self.train, replace=False)
        if seed >= EXPLORATION:
            kept = np.arange(_VALIDATION_FROM, _VALIDATION_FROM + self.test)
            return _pair(self.name, images, labels, learned, kept)
        tested, truth = _fashion(self.folder, "t10k")
        train = _part(self.name, images, labels, learned)
        return train, _part(self.name, tested, truth, np.arange(self.test))


@cache
def _fashion(folder: Path, part: str) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    try:
        pixels = gzip.decompress((folder / f"{part}-images-idx3-ubyte.gz").read_bytes())[16:]
        labels = gzip.decompress((folder / f"{part}-labels-idx1-ubyte.gz").read_bytes())[8:]
    except OSError as error:
        raise DataError(
            f"Fashion-MNIST cannot be read from {folder} ({error.strerror}): install Debian's package "
            "dataset-fashion-mnist, or name its folder by --fashion-dir"
        ) from error
    images = np.frombuffer(pixels, np.uint8).reshape(-1, 28, 28).astype(np.float32)
    return _patches((images / 255 - 0.286) / 0.353, 4), np.frombuffer(labels, np.uint8).astype(np.int64)


def _patches(images: NDArray[Any], side: int) -> NDArray[Any]:
    """(cases, height, width) as (cases, side * side, patches)."""
    cases, height, width = images.shape
    cut = images.reshape(cases, height // side, side, width // side, side).transpose(0, 2, 4, 1, 3)
    return cut.reshape(cases, side * side, -1)


def _pair(
    name: str, images: NDArray[Any], labels: NDArray[Any], learned: NDArray[Any], kept: NDArray[Any]
) -> Pair:
    return _part(name, images, labels, learned), _part(name, images, labels, kept)


def _part(name: str, images: NDArray[Any], labels: NDArray[Any], cases: NDArray[Any]) -> Dataset:
    return Dataset(name, images[cases], labels[cases].astype(str), "images as sequences")
