"""From an image to what a model sees, with the augmentation of a recipe and without."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import Tensor

from primaldual.experiments.inspection.subject import needed
from primaldual.images.recipes import Recipe

if TYPE_CHECKING:
    from PIL.Image import Image

View = Callable[["Image"], Tensor]
"""An image of any size -> (3, size, size), normalised."""

SMALL = 64
"""Pixels a side up to which images are shifted, not cropped, in training."""
_MAGNITUDE = 9.99
"""Below 10, at which timm asks Pillow for images of 0 bits; recent versions refuse."""
_CROP = 0.875
"""Share of a side that the test crop of larger images keeps."""


def training_view(size: int, recipe: Recipe) -> View:
    """Random crops or shifts, mirroring, RandAugment and random erasing, as the recipe says."""
    torchvision = needed("torchvision.transforms", "vision")
    steps: list[Any] = []
    if size <= SMALL:
        steps += [_Fit(size)]
        if recipe.shift:
            steps += [torchvision.RandomCrop(size, padding=round(size * recipe.shift))]
    else:
        steps += [torchvision.RandomResizedCrop(size, interpolation=torchvision.InterpolationMode.BICUBIC)]
    if recipe.flip:
        steps += [torchvision.RandomHorizontalFlip()]
    if recipe.rand_augment:
        augment = needed("timm.data.auto_augment", "vision")
        limits = {"translate_const": int(size * 0.45), "magnitude_max": _MAGNITUDE}
        steps += [augment.rand_augment_transform(recipe.rand_augment, limits)]
    steps += [torchvision.ToTensor(), _normalised()]
    if recipe.erasing:
        erasing = needed("timm.data.random_erasing", "vision")
        steps += [erasing.RandomErasing(recipe.erasing, mode="pixel", device="cpu")]
    view: View = torchvision.Compose(steps)
    return view


def test_view(size: int) -> View:
    """The whole of a small image, the middle of a larger one.

    Example:
        >>> from PIL.Image import new
        >>> test_view(8)(new("RGB", (8, 8))).shape
        torch.Size([3, 8, 8])
    """
    torchvision = needed("torchvision.transforms", "vision")
    if size <= SMALL:
        steps: list[Any] = [_Fit(size)]
    else:
        bicubic = torchvision.InterpolationMode.BICUBIC
        steps = [torchvision.Resize(round(size / _CROP), bicubic), torchvision.CenterCrop(size)]
    view: View = torchvision.Compose([*steps, torchvision.ToTensor(), _normalised()])
    return view


def pixels_of(view: Tensor) -> Tensor:
    """(3, size, size) from 0 to 1 again, to look at."""
    data = needed("timm.data", "vision")
    mean, deviation = (
        view.new_tensor(numbers).view(3, 1, 1)
        for numbers in (data.IMAGENET_DEFAULT_MEAN, data.IMAGENET_DEFAULT_STD)
    )
    return (view * deviation + mean).clamp(0, 1)


def _normalised() -> Any:
    data = needed("timm.data", "vision")
    torchvision = needed("torchvision.transforms", "vision")
    return torchvision.Normalize(data.IMAGENET_DEFAULT_MEAN, data.IMAGENET_DEFAULT_STD)


class _Fit:
    """Makes an image square, unless it has the size; a class, so that workers of any kind can have it."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, image: Image) -> Image:
        from PIL.Image import Resampling

        size = (self.size, self.size)
        return image if image.size == size else image.resize(size, Resampling.BICUBIC)
