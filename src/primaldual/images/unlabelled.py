"""Images without classes, to be classified: a folder, a file, or an array."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from primaldual.data.npz_file import read_arrays
from primaldual.data.places import near, user_path
from primaldual.errors import DataError
from primaldual.experiments.inspection.images import ENDINGS, all_image_files


def read_unlabelled(data: str) -> tuple[Sequence[str | int], Sequence[Any]]:
    """Names, and images as `ImageClassifier.predict_proba` takes them.

    Args:
        data: a folder, whose images and those of the folders in it are named by their paths in it; an image file; or an
            ``.npz`` file with an array ``X`` of images, which are counted from 0.

    Raises:
        DataError: no such place, no images there, or a file without ``X``.
    """
    place = user_path(data)
    if place.is_dir():
        files = all_image_files(place)
        return [path.relative_to(place).as_posix() for path in files], files
    if not place.is_file():
        raise DataError(f"data {data}: there is no such folder or file{near(place)}")
    if place.suffix.lower() in ENDINGS:
        return [place.name], [place]
    if place.suffix.lower() != ".npz":
        raise DataError(
            f"data {data} must be a folder of images, an image ({', '.join(ENDINGS)}) or an .npz file"
        )
    arrays = read_arrays(place)
    if "X" not in arrays:
        raise DataError(f"{data} holds {', '.join(sorted(arrays)) or 'nothing'}; needed: X")
    images: Any = arrays["X"]
    if images.ndim not in {3, 4}:
        raise DataError(
            f"{data}: X must be (images, height, width) or (images, height, width, 3); got shape {images.shape}"
        )
    return range(len(images)), images
