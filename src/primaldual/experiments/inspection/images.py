"""Images for models of vision: from a folder, or noise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from primaldual.errors import DataError
from primaldual.experiments.inspection.subject import first_line, needed, pieces, spread

ENDINGS = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
"""Files that are taken for images."""

_LARGEST = 2**16 - 1
"""White in 16 bits."""

NOISE_NOTE = "The inputs are noise: heads may behave otherwise on images. Name a folder of images to see."


def image_files(data: str, cases: int) -> tuple[list[Path], str]:
    """Image files in a folder and the folders in it, spread evenly over all; and what they are in words.

    Raises:
        DataError: no folder, or no image in it.
    """
    folder = Path(data).expanduser()
    found = all_image_files(folder)
    chosen = spread(found, cases)
    return chosen, f"{len(chosen)} of {len(found)} images in {folder.name}, spread over its files"


def all_image_files(folder: Path) -> list[Path]:
    """Image files in a folder and the folders in it, by name.

    Raises:
        DataError: no folder, or no image in it.
    """
    if not folder.is_dir():
        raise DataError(f"data {folder} is not a folder; a folder of images is accepted")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS and path.is_file())
    if not found:
        raise DataError(f"data {folder} holds no images ({', '.join(ENDINGS)})")
    return found


def opened(path: Path) -> Any:
    """An image in three colours, see `three_colours`.

    Raises:
        DataError: it cannot be read.
    """
    image = needed("PIL.Image", "vision")
    try:
        with image.open(path) as file:
            return three_colours(file)
    except Exception as error:  # every decoder raises its own kinds
        raise DataError(f"file {path} is not a readable image ({first_line(error)})") from None


def three_colours(image: Any) -> Any:
    """An image of Pillow in 8 bits of red, green and blue; of 16 bits of grey the upper ones, where Pillow cuts off at 255.

    Raises:
        DataError: grey values that are neither of 8 nor of 16 bits.

    Example:
        >>> from PIL import Image
        >>> three_colours(Image.fromarray(np.array([[0, 32896, 65535]], dtype=np.uint16))).getpixel((1, 0))
        (128, 128, 128)
    """
    if image.mode[0] not in "IF":
        return image.convert("RGB")
    values = np.asarray(image)
    if image.mode == "F" or values.min() < 0 or values.max() > _LARGEST:
        raise DataError("its grey values are neither of 8 nor of 16 bits; save it with 8")
    grey = (values.astype(np.int64) * 255 + _LARGEST // 2) // _LARGEST
    return needed("PIL.Image", "vision").fromarray(grey.astype(np.uint8)).convert("RGB")


def noise(cases: int, channels: int, height: int, width: int) -> tuple[list[Tensor], str]:
    """Batches of standard normal numbers, the same every time; and what they are in words.

    Example:
        >>> [batch.shape for batch in noise(9, 3, 4, 4)[0]]
        [torch.Size([8, 3, 4, 4]), torch.Size([1, 3, 4, 4])]
    """
    drawn = torch.randn(cases, channels, height, width, generator=torch.Generator().manual_seed(0))
    return [drawn[list(piece)] for piece in pieces(range(cases))], f"noise, {cases} times {height} x {width}"
