"""Paths as users write them."""

from __future__ import annotations

from pathlib import Path

from primaldual.errors import DataError, did_you_mean


def user_path(given: str | Path) -> Path:
    """A path with the home folder in place of ``~``.

    Raises:
        DataError: an empty path, or there is no such home folder, as in containers without users.
    """
    if not str(given):
        raise DataError(
            "path must name a file or a folder; got an empty one (. is the folder that you are in)"
        )
    try:
        return Path(given).expanduser()
    except RuntimeError as error:
        raise DataError(
            f"path {str(given)!r} has no home folder in place of ~; set HOME, or name another folder "
            "(data-dir for downloads)"
        ) from error


def other_commands(path: Path) -> str:
    """A hint at the commands that read a folder or a text file; "" for other paths."""
    if path.is_dir():
        return (
            ". A folder of texts is for primaldual train lra --task text --data FOLDER, "
            "a folder of images for primaldual train images --data FOLDER"
        )
    if path.suffix.lower() == ".txt" and path.is_file():
        return ". A language model of a text file is trained by primaldual train text FILE"
    return ""


def near(path: Path) -> str:
    """A hint at a neighbour whose name is close to that of a path which does not exist; "" without one."""
    try:
        names = [other.name for other in path.parent.iterdir()]
    except OSError:
        return ""
    return did_you_mean(path.name, names)
