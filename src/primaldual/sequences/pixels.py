"""Pixels of pictures in grey, row by row, from a folder or an archive of image files."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt

from primaldual.errors import DataError
from primaldual.experiments.inspection.subject import first_line
from primaldual.images.bad_files import without_bad_files
from primaldual.images.folders import read_folder
from primaldual.images.image_sets import FileSet, ImageSet
from primaldual.sequences.sources import listing
from primaldual.sequences.stored_sets import stored_parts
from primaldual.sequences.token_sets import Corpus, SequenceParts

_ARCHIVES = (".tar", ".tar.gz", ".tgz")


def pixel_parts(folder: Path, data: Path, skip_bad: bool = False) -> SequenceParts:
    """The parts of a folder of images, or of a tar file of one, read where they were not yet.

    Args:
        folder: where data sets are kept.
        data: as :func:`primaldual.images.read_folder` takes it, such as ``train/<class>/*.jpg`` beside ``test``.
        skip_bad: leave out files that cannot be read.

    Raises:
        DataError: no such data, files that cannot be read, or images of different sizes.
        ArgumentError: the folder cannot be written.
    """
    key = {"source": listing(data), "skip_bad": skip_bad}
    return stored_parts(folder, "pixels", key, partial(_read, folder, data, skip_bad))


def _read(folder: Path, data: Path, skip_bad: bool) -> Corpus:
    with _unpacked(folder, data) as place:
        parts = read_folder(place)
        given = {"training": parts.training, "validation": parts.validation, "test": parts.test}
        pictures: list[npt.NDArray[np.uint8]] = []
        counts, labels, left_out = {}, [], []
        for name, images in given.items():
            if images is not None:
                kept, bad = without_bad_files(images, skip_bad)
                pictures += _grey(kept, pictures[:1])
                labels.append(kept.labels)
                counts[name] = len(kept)
                left_out += [str(Path(one).relative_to(place)) for one in bad]
    size = pictures[0].size
    return Corpus(
        parts.training.classes,
        256,
        np.concatenate([picture.reshape(-1) for picture in pictures]),
        np.full((len(pictures), 1), size),
        np.concatenate(labels),
        counts,
        (*parts.notes, f"pictures are {pictures[0].shape[1]} x {pictures[0].shape[0]} pixels, read as grey"),
        tuple(left_out),
    )


def _grey(images: ImageSet, first: list[npt.NDArray[np.uint8]]) -> list[npt.NDArray[np.uint8]]:
    found: list[npt.NDArray[np.uint8]] = []
    for number in range(len(images)):
        picture = np.asarray(images.image(number).convert("L"), dtype=np.uint8)
        expected = (first or found or [picture])[0].shape
        if picture.shape != expected:
            name = images.files[number] if isinstance(images, FileSet) else str(number)
            raise DataError(
                f"image {name} is {picture.shape[1]} x {picture.shape[0]} pixels, others are {expected[1]} x "
                f"{expected[0]}; all must have one size"
            )
        found.append(picture)
    return found


@contextmanager
def _unpacked(folder: Path, data: Path) -> Iterator[Path]:
    """The folder itself, or the content of a tar file for a while."""
    if not data.name.lower().endswith(_ARCHIVES):
        yield data
        return
    with TemporaryDirectory(prefix=".unpacked-", dir=folder) as place:
        try:
            with tarfile.open(data) as archive:
                archive.extractall(place, filter="data")
        except (OSError, EOFError, tarfile.TarError) as error:
            raise DataError(f"data {data} is not a readable tar file ({first_line(error)})") from error
        yield Path(place)
