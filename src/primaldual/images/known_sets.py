"""Data sets by name: digits of scikit-learn, CIFAR-10 and Fashion-MNIST of torchvision."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from primaldual.errors import DataError
from primaldual.experiments.inspection.subject import first_line, needed
from primaldual.images.folders import read_folder
from primaldual.images.image_sets import ImageParts, PixelSet
from primaldual.training.splitting import split_off_test

DEFAULT_FOLDER = Path("data") / "images"
"""Where torchvision keeps what it downloads."""


def read_parts(data: str, data_dir: Path | None = None) -> ImageParts:
    """The parts of a data set.

    Args:
        data: "digits", "cifar10", "fashion-mnist", or a folder as :func:`read_folder` takes it.
        data_dir: where torchvision finds or puts its files; None = data/images.

    Raises:
        DataError: no such data, or a download that failed.
        UnsupportedError: torchvision is not installed.

    Example:
        >>> parts = read_parts("digits")
        >>> len(parts.training), len(parts.test)
        (1438, 359)
    """
    reader = KNOWN_SETS.get(data.lower())
    return read_folder(data) if reader is None else reader(data_dir or DEFAULT_FOLDER)


def _digits(folder: Path) -> ImageParts:
    del folder
    from sklearn.datasets import load_digits

    found = load_digits()
    pixels = (found.images * (255 / 16)).round().astype(np.uint8)
    labels = found.target.astype(np.int64)
    everything = PixelSet("digits", tuple("0123456789"), labels, pixels)
    training, test = split_off_test(labels)
    note = "the test part is a fifth of every digit, drawn once; writers may be in both parts"
    return ImageParts(everything.part(training), None, everything.part(test), (note,))


def _of_torchvision(kind: str, name: str) -> Callable[[Path], ImageParts]:
    def read(folder: Path) -> ImageParts:
        datasets = needed("torchvision.datasets", "vision")
        try:
            train, test = (
                getattr(datasets, kind)(folder, train=part, download=True) for part in (True, False)
            )
        except (OSError, RuntimeError) as error:
            raise DataError(
                f"data {name} is not in {folder} and cannot be downloaded ({first_line(error)}); give --data-dir, or "
                "--data with a folder of images"
            ) from error
        return ImageParts(_pixels(name, train), None, _pixels(name, test))

    return read


def _pixels(name: str, part: Any) -> PixelSet:
    pixels: Any = np.asarray(part.data, dtype=np.uint8)
    return PixelSet(name, tuple(part.classes), np.asarray(part.targets, dtype=np.int64), pixels)


KNOWN_SETS: Mapping[str, Callable[[Path], ImageParts]] = {
    "digits": _digits,
    "cifar10": _of_torchvision("CIFAR10", "cifar10"),
    "fashion-mnist": _of_torchvision("FashionMNIST", "fashion-mnist"),
}
"""Readers by name."""
