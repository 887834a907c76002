"""Data sets of tokens in a folder: written once, whole or not at all, and read through memory maps."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from primaldual.errors import ArgumentError, DataError
from primaldual.reporting.files import check_writable, replacing
from primaldual.sequences.token_sets import Corpus, SequenceParts, TokenSet, bounds_of

_DESCRIPTION = "description.json"
_ARRAYS = ("tokens", "lengths", "labels")
_VERSION = 1
"""Of the files and of what is generated for the same numbers."""


def stored_parts(
    folder: Path, name: str, key: Mapping[str, Any], make: Callable[[], Corpus]
) -> SequenceParts:
    """The parts of a data set, which is made and written where it does not lie in the folder yet.

    Processes that ask for the same data at the same time wait for the first one. The tokens stay on the disk and are
    read as they are needed.

    Args:
        folder: above all data sets.
        name: in words, for messages and the name of the data set's folder.
        key: everything that decides what is made, as JSON takes it.
        make: makes it.

    Raises:
        ArgumentError: the folder cannot be written.
        DataError: what lies there is damaged.
    """
    from filelock import FileLock

    named = json.dumps({"version": _VERSION, **key}, sort_keys=True)
    place = folder / f"{name}-{hashlib.sha256(named.encode()).hexdigest()[:12]}"
    if not (place / _DESCRIPTION).exists():
        check_writable(folder)
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f".{place.name}.lock"):
            if not (place / _DESCRIPTION).exists():
                _write(place, key, make())
    return _read(place, name)


def _write(place: Path, key: Mapping[str, Any], corpus: Corpus) -> None:
    arrays: dict[str, npt.NDArray[Any]] = {
        "tokens": corpus.tokens,
        "lengths": corpus.lengths,
        "labels": corpus.labels,
    }
    digest = hashlib.sha256("\n".join(corpus.classes).encode())
    for array in arrays.values():
        digest.update(np.ascontiguousarray(array).data)
    description = {
        "key": dict(key),
        "classes": corpus.classes,
        "vocabulary": corpus.vocabulary,
        "counts": dict(corpus.counts),
        "notes": corpus.notes,
        "left_out": corpus.left_out,
        "digest": digest.hexdigest()[:16],
    }
    try:
        with replacing(place) as fresh:
            fresh.mkdir()
            for name, array in arrays.items():
                np.save(fresh / f"{name}.npy", array)
            (fresh / _DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        reason = error.strerror or str(error)
        raise ArgumentError(f"data_dir {place.parent} cannot be written ({reason})") from error


def _read(place: Path, name: str) -> SequenceParts:
    try:
        described = json.loads((place / _DESCRIPTION).read_text(encoding="utf-8"))
        tokens, lengths, labels = (np.load(place / f"{array}.npy", mmap_mode="r") for array in _ARRAYS)
        _check_fit(described, tokens, lengths, labels)
        whole = TokenSet(
            name,
            tuple(described["classes"]),
            int(described["vocabulary"]),
            tokens,
            bounds_of(lengths),
            np.array(labels, dtype=np.int64),
            described["digest"],
        )
        return SequenceParts.of(whole, described)
    except (
        OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, RecursionError, BadZipFile
    ) as error:  # fmt: skip
        raise DataError(f"data set in {place} is damaged; delete the folder to make it again") from error


def _check_fit(
    described: Mapping[str, Any],
    tokens: npt.NDArray[Any],
    lengths: npt.NDArray[Any],
    labels: npt.NDArray[Any],
) -> None:
    """Raise ValueError unless the files tell of one data set; the tokens are not read."""
    counts, whole = list(described["counts"].values()), (lengths, labels)
    fits = (
        tokens.dtype == np.uint8
        and (tokens.ndim, labels.ndim) == (1, 1)
        and lengths.ndim in (1, 2)
        and lengths.shape[1:] in ((), (1,), (2,))
        and all(np.issubdtype(array.dtype, np.integer) and (array >= 0).all() for array in whole)
        and (labels < len(described["classes"])).all()
        and (lengths.sum(), len(lengths)) == (len(tokens), len(labels))
        and all(isinstance(count, int) and count >= 0 for count in counts)
        and sum(counts) == len(labels)
        and isinstance(described["digest"], str)
    )
    if not fits:
        raise ValueError("files do not fit together")
