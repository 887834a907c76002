"""Images as the training loop takes them: loaded, augmented and mixed on the way, in worker processes or not."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from primaldual.errors import DataError
from primaldual.images.image_sets import ImageSet
from primaldual.images.mixing import Mixing
from primaldual.images.transforms import View
from primaldual.training.randomness import derive_seed

if TYPE_CHECKING:
    from PIL.Image import Image

Change = Callable[["Image", int], "Image"]
"""What is done to an image before it is seen, from the image and its number."""


@dataclass(frozen=True)
class ImageBatch:
    """A batch of images.

    Attributes:
        images: (cases, 3, size, size).
        targets: (cases,) numbers of classes, or (cases, classes) probabilities.
        weights: (cases,), all 1.
    """

    images: Tensor
    targets: Tensor
    weights: Tensor

    def __len__(self) -> int:
        """Number of images."""
        return len(self.images)

    @property
    def inputs(self) -> tuple[Tensor]:
        """Arguments of the model."""
        return (self.images,)

    def to(self, device: torch.device) -> ImageBatch:
        """The same on another device."""
        return ImageBatch(self.images.to(device), self.targets.to(device), self.weights.to(device))


@dataclass(frozen=True)
class ImageData:
    """Images with a view on them.

    What is drawn for an image depends on the seed of the epoch and the number of the image alone, so it is the same in
    every process and after a resumption. Partners of mixing are drawn inside a batch's piece.

    Attributes:
        images: with their labels.
        view: from an image to a tensor.
        drawn: whether the view draws random numbers.
        mixing: of batches; None = none.
        change: to images before they are seen; None = none.
        workers: processes that load; 0 = this one.
    """

    images: ImageSet
    view: View
    drawn: bool = False
    mixing: Mixing | None = None
    change: Change | None = None
    workers: int = 0

    def __len__(self) -> int:
        """Number of images."""
        return len(self.images)

    @property
    def lengths(self) -> Tensor:
        """All 1."""
        return torch.ones(len(self), dtype=torch.long)

    @property
    def weights(self) -> Tensor:
        """All 1."""
        return torch.ones(len(self))

    def fingerprint(self) -> bytes:
        """Of the images; the view belongs to the settings of a run."""
        return hashlib.sha256(self.images.fingerprint().encode()).digest()

    def load(self, batches: Sequence[Tensor], seed: int) -> Iterator[ImageBatch]:
        """See `primaldual.training.Data.load`.

        Raises:
            DataError: an image that cannot be read.
        """
        pending = _Batches(self, batches, seed)
        if self.workers == 0:
            found: Iterator[ImageBatch | DataError] = map(pending.__getitem__, range(len(batches)))
        else:
            own = torch.Generator()  # else the loader would draw from the generator of dropout
            workers = min(self.workers, len(batches))
            found = iter(DataLoader(pending, batch_size=None, num_workers=workers, generator=own))
        for batch in found:
            if isinstance(batch, DataError):
                raise batch
            yield batch


class _Batches(Dataset["ImageBatch | DataError"]):
    """Whole batches by number; an error is handed over, because a worker would wrap it in a traceback."""

    def __init__(self, data: ImageData, batches: Sequence[Tensor], seed: int) -> None:
        self.data, self.batches, self.seed = data, batches, seed

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, number: int) -> ImageBatch | DataError:
        try:
            return self._batch(self.batches[number].tolist())
        except DataError as error:
            return error

    def _batch(self, cases: list[int]) -> ImageBatch:
        data = self.data
        with _own_generators() as draw_from:
            views = []
            for case in cases:
                image = data.images.image(case)
                if data.drawn:
                    draw_from(derive_seed(self.seed, case))
                views.append(data.view(image if data.change is None else data.change(image, case)))
            images, targets = torch.stack(views), torch.from_numpy(data.images.labels[cases])
            if data.mixing is not None:
                draw_from(derive_seed(self.seed, *cases[:1], len(data)))
                images, targets = data.mixing(images, targets)
        return ImageBatch(images, targets, torch.ones(len(images)))


@contextmanager
def _own_generators() -> Iterator[Callable[[int], None]]:
    """Seed the global generators that torchvision and timm draw from; afterwards they are as before."""
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()

    def draw_from(seed: int) -> None:
        random.seed(seed)
        np.random.seed(seed)
        torch.default_generator.manual_seed(seed)

    try:
        yield draw_from
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])
