"""Data sets by name: in aeon's wheel, in a folder of the user, or downloaded by aeon."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from primaldual.data.pair import Parts, one_line
from primaldual.data.places import other_commands, user_path
from primaldual.data.reading import PLAIN, Reading
from primaldual.data.ts_file import read_ts
from primaldual.errors import DataError, did_you_mean
from primaldual.reporting.files import replacing

_CACHE = "~/.cache/primaldual"
"""Where downloads go without a data_dir."""


def read_archive(name: str, data_dir: Path | None = None, reading: Reading = PLAIN) -> Parts:
    """Find ``<folder>/<name>/<name>_TRAIN.ts`` in ``data_dir``, then in aeon's wheel, else download it.

    JapaneseVowels and BasicMotions lie inside the wheel and need no network. A download goes to
    ``data_dir``, or to ``~/.cache/primaldual`` without one, and appears there only when complete.

    Raises:
        DataError: the name is unknown, or known but neither on disk nor to be had.
    """
    file = on_disk(name, data_dir)
    if file is None:
        _check_name(name)
        file = _download(name, data_dir or user_path(_CACHE))
    return Parts(read_ts(file, reading).found)


def on_disk(name: str, data_dir: Path | None = None) -> Path | None:
    """The train part of a data set in ``data_dir``, in aeon's wheel, or among earlier downloads; None if nowhere."""
    folders = [data_dir, embedded_folder(), user_path(_CACHE) if data_dir is None else None]
    files = [folder / name / f"{name}_TRAIN.ts" for folder in folders if folder is not None]
    return next((file for file in files if file.is_file()), None)


def embedded_folder() -> Path | None:
    """The folder of data sets inside aeon's wheel, found without importing aeon."""
    spec = find_spec("aeon")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations))) / "datasets" / "data"


def _check_name(name: str) -> None:
    from aeon.datasets.tsc_datasets import tsc_zenodo

    if name not in tsc_zenodo:
        raise DataError(
            f"data set {name!r} is neither a file nor a name of aeon's archive; accepted: a name such as "
            f"JapaneseVowels, or a path to a .ts, .npz or .csv file{did_you_mean(name, tsc_zenodo)}"
            f"{other_commands(user_path(name))}"
        )


def _download(name: str, folder: Path) -> Path:
    from aeon.datasets import load_classification

    try:
        with replacing(folder / name) as fresh:
            load_classification(name, extract_path=str(fresh.parent))
    except (OSError, ValueError) as error:
        raise DataError(
            f"data set {name!r} is not on disk and could not be downloaded ({one_line(error, 120)}); "
            f"put {name}_TRAIN.ts and {name}_TEST.ts into <data-dir>/{name}/ and give data-dir"
        ) from error
    return folder / name / f"{name}_TRAIN.ts"
