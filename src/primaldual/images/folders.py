"""Folders with one folder of images for each class, in parts or not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from primaldual.errors import DataError
from primaldual.experiments.inspection.images import ENDINGS
from primaldual.images.image_sets import FileSet, ImageParts, Labels
from primaldual.training.splitting import HELD_OUT, split_off_test

_TRAIN = ("train", "training")
_VALIDATION = ("val", "valid", "validation")
_TEST = ("test", "testing")


def read_folder(place: str | Path) -> ImageParts:
    """The parts of a folder.

    Accepted are ``train`` beside ``val`` or ``test`` or both, each with one folder for each class (the usual folders of
    ImageNet, of which ``val`` is the test part), and class folders alone, of which a fifth of every class becomes
    the test part, the same images every time.

    Args:
        place: the folder.

    Raises:
        DataError: no such folder, parts without class folders, too few images to make a test
            part, or classes of the test part that the training part lacks.
    """
    folder = Path(place).expanduser()
    if not folder.is_dir():
        raise DataError(
            f"data {place} is not a folder; accepted are a folder of images and the name of a data set"
        )
    train = _subfolder(folder, _TRAIN)
    if train is None:
        return _one_part(_class_folders(folder, None))
    validation, test = _subfolder(folder, _VALIDATION), _subfolder(folder, _TEST)
    if validation is None and test is None:
        raise DataError(f"data {place} holds {train.name} but no {' or '.join((*_VALIDATION, *_TEST))}")
    training = _class_folders(train, None)
    first, *rest = (_class_folders(part, training.classes) for part in (validation, test) if part is not None)
    return ImageParts(training, first, rest[0]) if rest else ImageParts(training, None, first)


def _one_part(everything: FileSet) -> ImageParts:
    training, test = split_off_test(everything.labels)
    note = f"the test part is {round(100 * HELD_OUT)} % of every class, because the folder has no parts"
    return ImageParts(everything.part(training), None, everything.part(test), (note,))


def _subfolder(folder: Path, names: Sequence[str]) -> Path | None:
    found = {path.name.lower(): path for path in folder.iterdir() if path.is_dir()}
    return next((found[name] for name in names if name in found), None)


def _class_folders(folder: Path, classes: Sequence[str] | None) -> FileSet:
    """Every image of a part; the classes are those of the training part where it is given."""
    present = sorted(
        path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")
    )
    if not present:
        raise DataError(
            f"folder {folder} holds no folders of classes; needed is one folder of images for each class"
        )
    unknown = [] if classes is None else [name for name in present if name not in classes]
    if unknown:
        raise DataError(f"folder {folder} has class {unknown[0]!r}, which the training part lacks")
    names = tuple(present if classes is None else classes)
    files: list[str] = []
    labels: list[int] = []
    for number, name in enumerate(names):
        inside = sorted(_images(folder / name))
        if not inside and name in present:
            raise DataError(f"folder {folder / name} holds no images ({', '.join(ENDINGS)})")
        files += [path.relative_to(folder).as_posix() for path in inside]
        labels += [number] * len(inside)
    found: Labels = np.array(labels, dtype=np.int64)
    return FileSet(folder.name, names, found, folder, tuple(files))


def _images(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS and path.is_file()]
