"""Image files that cannot be read, found before training starts."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from primaldual.errors import DataError
from primaldual.images.image_sets import FileSet, ImageSet

_ENDS = (b"\xff\xd9", b"IEND\xaeB`\x82")
"""What whole files of JPEG and PNG hold in their last bytes; some writers pad them."""

_TAIL = 1024
NAMED = 5
"""Files that a message names."""


def without_bad_files(images: ImageSet, skip_bad: bool) -> tuple[ImageSet, list[str]]:
    """The images that can be read, and the names of the files that were left out.

    Args:
        images: of one part.
        skip_bad: decode every file once and leave out those that cannot be read. Otherwise empty and truncated
            files are an error; only files that do not end as a whole JPEG or PNG are decoded, which takes little time.

    Raises:
        DataError: a file that cannot be read, or all of them.
    """
    if not isinstance(images, FileSet):
        return images, []
    check = _unreadable if skip_bad else _cut_off
    bad = _numbers(images, check)
    if not bad:
        return images, []
    names = [str(images.folder / images.files[number]) for number in bad]
    if not skip_bad:
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        raise DataError(
            f"file {', '.join(names[:NAMED])}{more} cannot be read: {len(names)} of {len(images)} images; "
            "skip_bad leaves such files out"
        )
    if len(bad) == len(images):
        raise DataError(f"{images.name}: none of {len(images)} images can be read, the first is {names[0]}")
    return images.part(np.delete(np.arange(len(images)), bad)), names


def _numbers(images: FileSet, check: Callable[[FileSet, int], bool]) -> list[int]:
    with ThreadPoolExecutor() as threads:
        found = threads.map(lambda number: check(images, number), range(len(images)), chunksize=256)
        return [number for number, bad in enumerate(found) if bad]


def _unreadable(images: FileSet, number: int) -> bool:
    try:
        images.image(number)
    except DataError:
        return True
    return False


def _cut_off(images: FileSet, number: int) -> bool:
    tail = _last_bytes(images.folder / images.files[number])
    return not any(end in tail for end in _ENDS) and _unreadable(images, number)


def _last_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(size - _TAIL, 0))
            return file.read()
    except OSError:
        return b""
