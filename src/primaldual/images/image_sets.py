"""Labelled images, in files or in memory."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from primaldual.errors import DataError
from primaldual.experiments.inspection.images import opened

if TYPE_CHECKING:
    from PIL.Image import Image

Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ImageSet(ABC):
    """Labelled images.

    Attributes:
        name: in words, for messages.
        classes: names, in the order of the model's outputs.
        labels: (images,): numbers of the classes.
    """

    name: str
    classes: tuple[str, ...]
    labels: Labels

    def __len__(self) -> int:
        """Number of images."""
        return len(self.labels)

    @abstractmethod
    def image(self, number: int) -> Image:
        """An image in three colours.

        Raises:
            DataError: it cannot be read; names the file.
        """

    @abstractmethod
    def part(self, numbers: Labels) -> ImageSet:
        """Some of the images."""

    @abstractmethod
    def fingerprint(self) -> str:
        """The same for the same images and labels; files are told by name."""

    def check_trainable(self) -> None:
        """Refuse a set that no classifier can be trained on.

        Raises:
            DataError: fewer than two classes.
        """
        present = np.unique(self.labels)
        if len(present) < 2:
            only = repr(self.classes[int(present[0])]) if len(present) else "none"
            raise DataError(f"{self.name}: the only class of the training images is {only}; two are needed")


@dataclass(frozen=True)
class FileSet(ImageSet):
    """Images in files.

    Attributes:
        folder: above all of them.
        files: below ``folder``.
    """

    folder: Path
    files: tuple[str, ...]

    def image(self, number: int) -> Image:
        try:
            found: Image = opened(self.folder / self.files[number])
        except DataError as error:
            raise DataError(f"{error}; skip_bad leaves such files out") from None
        return found

    def part(self, numbers: Labels) -> FileSet:
        files = tuple(self.files[number] for number in numbers)
        return FileSet(self.name, self.classes, self.labels[numbers], self.folder, files)

    def fingerprint(self) -> str:
        return _digest(self.classes, self.labels, "\n".join(self.files).encode())


@dataclass(frozen=True)
class PixelSet(ImageSet):
    """Images in memory.

    Attributes:
        pixels: (images, height, width) or (images, height, width, 3), uint8.

    Example:
        >>> one = PixelSet("black", ("no", "yes"), np.zeros(1, dtype=int), np.zeros((1, 8, 8), dtype=np.uint8))
        >>> one.image(0).mode, one.image(0).size
        ('RGB', (8, 8))
    """

    pixels: npt.NDArray[np.uint8]

    def image(self, number: int) -> Image:
        from PIL.Image import fromarray

        return fromarray(self.pixels[number]).convert("RGB")

    def part(self, numbers: Labels) -> PixelSet:
        return PixelSet(self.name, self.classes, self.labels[numbers], self.pixels[numbers])

    def fingerprint(self) -> str:
        return _digest(self.classes, self.labels, self.pixels.tobytes())


@dataclass(frozen=True)
class ImageParts:
    """The parts of a data set.

    Attributes:
        training: to learn from.
        validation: to choose the best epoch by; None = split off the training images.
        test: read once, at the end.
        notes: what a reader of the results must know.
    """

    training: ImageSet
    validation: ImageSet | None
    test: ImageSet
    notes: tuple[str, ...] = ()


def _digest(classes: Sequence[str], labels: Labels, contents: bytes) -> str:
    return hashlib.sha256("\n".join(classes).encode() + labels.tobytes() + contents).hexdigest()[:16]
