"""Read ``.npz`` files: arrays ``X`` and ``y``, or ``X_train``, ``y_train``, ``X_test``, ``y_test``."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from primaldual.data.dataset import Dataset, build
from primaldual.data.pair import Parts, one_line
from primaldual.data.reading import PLAIN, Reading
from primaldual.errors import DataError

_Arrays = Mapping[str, NDArray[np.generic]]


def read_npz(path: Path, reading: Reading = PLAIN) -> Parts:
    """Read series and labels from an ``.npz`` file.

    ``X`` is (n_cases, n_channels, n_timepoints), or (n_cases, n_timepoints) for one channel; ``y`` is
    (n_cases,) and may be left out. Series of unequal length are padded at their end and an integer array
    ``lengths`` gives the time points that count. With the endings ``_train`` and ``_test`` on every name
    the file holds both parts. Pickled (object) arrays are refused.

    Raises:
        DataError: the file is missing, malformed, or lacks an array.
    """
    arrays = read_arrays(path)
    if "X" in arrays:
        return Parts({"all": _part(path, arrays, "", reading)})
    if "X_train" in arrays and "X_test" in arrays:
        return Parts({part: _part(path, arrays, f"_{part}", reading) for part in ("train", "test")})
    names = ", ".join(sorted(arrays)) or "nothing"
    raise DataError(f"{path} holds {names}; needed: X and y, or X_train, y_train, X_test and y_test")


def read_arrays(path: Path) -> _Arrays:
    """The arrays of an ``.npz`` file by name.

    Raises:
        DataError: the file is missing or malformed.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except FileNotFoundError as error:
        raise DataError(f"data file {path} does not exist") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, AttributeError) as error:
        raise DataError(f"{path} cannot be read as an .npz file: {one_line(error)}") from error


def _part(path: Path, arrays: _Arrays, ending: str, reading: Reading) -> Dataset:
    values = arrays[f"X{ending}"]
    if values.ndim == 2:
        values = values[:, None, :]
    if values.ndim != 3 or values.dtype.kind not in "fiub":
        raise DataError(
            f"{path}: X{ending} must be numbers of shape (cases, channels, time); "
            f"got {values.dtype} of shape {values.shape}"
        )
    cases = list(np.asarray(values, dtype=np.float64))
    lengths = arrays.get(f"lengths{ending}")
    if lengths is not None:
        if lengths.shape != (len(cases),) or lengths.dtype.kind not in "iu":
            raise DataError(f"{path}: lengths{ending} must be one whole number per case")
        if cases and (lengths.min() < 1 or lengths.max() > values.shape[2]):
            raise DataError(f"{path}: lengths{ending} must lie between 1 and {values.shape[2]}")
        cases = [series[:, : int(length)] for series, length in zip(cases, lengths, strict=True)]
    labels = arrays.get(f"y{ending}") if reading.labelled else None
    if labels is not None and labels.ndim != 1:
        raise DataError(f"{path}: y{ending} must be one label per case; its shape is {labels.shape}")
    return build(path.stem, cases, None if labels is None else list(labels), f"read from {path.name}")
