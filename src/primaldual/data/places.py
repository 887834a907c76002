"""Paths as users write them."""

from __future__ import annotations

from pathlib import Path

from primaldual.errors import DataError, did_you_mean


def user_path(given: str | Path) -> Path:
    """A path with the home folder in the place of ``~``.

    Raises:
        DataError: there is no such home folder, as in containers without users.
    """
    try:
        return Path(given).expanduser()
    except RuntimeError as error:
        raise DataError(
            f"path {str(given)!r} has no home folder in the place of ~; set HOME, or name another folder "
            "(data-dir for downloads)"
        ) from error


def near(path: Path) -> str:
    """A hint at a neighbour whose name is close to that of a path which does not exist; "" without one."""
    try:
        names = [other.name for other in path.parent.iterdir()]
    except OSError:
        return ""
    return did_you_mean(path.name, names)
