"""Folders with one folder of text files for each class, in parts or not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from primaldual.errors import DataError
from primaldual.sequences.texts import PARTS, Texts, corpus_of
from primaldual.sequences.token_sets import Corpus

UNLABELLED = "unsup"
"""The folder of aclImdb's texts without labels."""
_NAMED = 5


def read_text_folder(folder: Path, skip_bad: bool) -> Corpus:
    """``train/<class>/*.txt`` beside ``test``, and ``val`` or not, as aclImdb has them; or class folders alone.

    Raises:
        DataError: no such folders, or files that are empty or cannot be read, unless they are skipped.
    """
    present = {path.name.lower(): path for path in folder.iterdir() if path.is_dir()}
    found = {part: present[name] for part, names in PARTS.items() for name in names[::-1] if name in present}
    if "training" not in found:
        return corpus_of({"training": _part(folder, skip_bad)})
    if "test" not in found:
        raise DataError(f"data {folder} holds {found['training'].name} but no {' or '.join(PARTS['test'])}")
    notes = []
    if (found["training"] / UNLABELLED).is_dir():
        notes.append(f"{found['training'].name}/{UNLABELLED} holds texts without labels and is left out")
    return corpus_of({part: _part(place, skip_bad) for part, place in found.items()}, notes)


def _part(folder: Path, skip_bad: bool) -> Texts:
    classes = sorted(path for path in folder.iterdir() if path.is_dir() and path.name != UNLABELLED)
    classes = [path for path in classes if not path.name.startswith(".")]
    if not classes:
        raise DataError(
            f"folder {folder} holds no folders of classes; needed is one folder of texts for each class"
        )
    cases, labels, bad = [], [], []
    for place in classes:
        files = sorted(place.rglob("*.txt"))
        if not files:
            raise DataError(f"folder {place} holds no texts (.txt)")
        for path in files:
            text = _text(path)
            if text:
                cases.append((text,))
                labels.append(place.name)
            else:
                bad.append(str(path))
    if bad and not skip_bad:
        raise DataError(_refusal(bad, len(cases) + len(bad)))
    return Texts(cases, labels, tuple(bad))


def _text(path: Path) -> bytes:
    """The bytes of a file; none where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _refusal(bad: Sequence[str], count: int) -> str:
    more = f" and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
    return (
        f"file {', '.join(bad[:_NAMED])}{more} cannot be read or is empty: {len(bad)} of {count} texts; "
        "skip_bad leaves such files out"
    )
