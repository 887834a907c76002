"""Corrupted images, made on the fly: noise, blur, less contrast, JPEG."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from primaldual.errors import ArgumentError
from primaldual.training.randomness import derive_seed

if TYPE_CHECKING:
    from PIL.Image import Image

SEVERITIES = (1, 3, 5)

_NOISE = (0.04, 0.06, 0.08, 0.12, 0.18)
_BLUR = (0.010, 0.015, 0.020, 0.030, 0.045)
_CONTRAST = (0.75, 0.6, 0.45, 0.3, 0.15)
_QUALITY = (40, 30, 20, 12, 6)


def noise(image: Image, severity: int, seed: int) -> Image:
    """Normal noise on every value, of deviation 0.04 to 0.18 of the whole range."""
    from PIL.Image import fromarray

    values = np.asarray(image, dtype=np.float64)
    drawn = np.random.default_rng(seed).normal(0.0, 255 * _NOISE[severity - 1], values.shape)
    return fromarray((values + drawn).round().clip(0, 255).astype(np.uint8))


def blur(image: Image, severity: int, seed: int) -> Image:
    """A Gaussian filter, its deviation 1 % to 4.5 % of the longer side and 0.2 to 1 pixel at least."""
    from PIL.ImageFilter import GaussianBlur

    del seed
    return image.filter(GaussianBlur(max(max(image.size) * _BLUR[severity - 1], severity / 5)))


def contrast(image: Image, severity: int, seed: int) -> Image:
    """Differences from the mean grey times 0.75 to 0.15."""
    from PIL.ImageEnhance import Contrast

    del seed
    return Contrast(image).enhance(_CONTRAST[severity - 1])


def jpeg(image: Image, severity: int, seed: int) -> Image:
    """JPEG of quality 40 to 6, decoded again."""
    from PIL.Image import open as opened

    del seed
    target = io.BytesIO()
    image.save(target, "JPEG", quality=_QUALITY[severity - 1])
    return opened(target).convert("RGB")


CORRUPTIONS: Mapping[str, Callable[[Image, int, int], Image]] = {
    "noise": noise,
    "blur": blur,
    "contrast": contrast,
    "jpeg": jpeg,
}
"""Corruptions by name: image, severity from 1 to 5, seed.

The kinds are among those of Hendrycks and Dietterich (ICLR 2019); the severities are ours, relative to the size of the
image, so the numbers are not ImageNet-C scores.
"""


def corrupted(kind: str, severity: int) -> Callable[[Image, int], Image]:
    """A corruption as a function of the image and its number, of which the noise depends.

    Args:
        kind: one of `CORRUPTIONS`.
        severity: 1 to 5.

    Raises:
        ArgumentError: another kind or severity.

    Example:
        >>> from PIL.Image import new
        >>> corrupted("jpeg", 5)(new("RGB", (8, 8)), 0).size
        (8, 8)
    """
    if kind not in CORRUPTIONS:
        raise ArgumentError(f"kind must be one of {', '.join(CORRUPTIONS)}; got {kind!r}")
    if severity not in range(1, 6):
        raise ArgumentError(f"severity must be 1 to 5; got {severity!r}")
    return partial(_corrupt, kind, severity)


def _corrupt(kind: str, severity: int, image: Image, number: int) -> Image:
    return CORRUPTIONS[kind](image, severity, derive_seed(severity, number))
