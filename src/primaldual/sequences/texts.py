"""Texts as bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from primaldual.errors import DataError
from primaldual.sequences.token_sets import Corpus
from primaldual.training.splitting import HELD_OUT, split_off_test

PARTS: Mapping[str, tuple[str, ...]] = {
    "training": ("train", "training"),
    "validation": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
"""Names of folders and files of parts."""


@dataclass(frozen=True)
class Texts:
    """Labelled texts of a part.

    Attributes:
        cases: the texts of each case, one or two.
        labels: names of their classes.
        left_out: names of files that could not be read.
    """

    cases: Sequence[tuple[bytes, ...]]
    labels: Sequence[str]
    left_out: tuple[str, ...] = ()


def corpus_of(parts: Mapping[str, Texts], notes: Sequence[str] = ()) -> Corpus:
    """Bytes as tokens; a single part gives a fifth of every class to its test part, the same cases every time.

    Args:
        parts: by "training", "validation" and "test", or the first one alone.
        notes: what a reader of the results must know.

    Raises:
        DataError: no cases, too few of them to make a test part, or a class of another part that the training part lacks.
    """
    classes = tuple(sorted(set(parts["training"].labels)))
    for name, part in parts.items():
        if not part.cases:
            raise DataError(f"the {name} part holds no texts")
        unknown = sorted(set(part.labels) - set(classes))
        if unknown:
            raise DataError(f"the {name} part has class {unknown[0]!r}, which the training part lacks")
    cases = [case for part in parts.values() for case in part.cases]
    labels = np.array([classes.index(label) for part in parts.values() for label in part.labels])
    counts = {name: len(part.cases) for name, part in parts.items()}
    if "test" not in parts:
        training, test = split_off_test(labels)
        cases = [cases[number] for number in (*training, *test)]
        labels = labels[np.concatenate([training, test])]
        counts = {"training": len(training), "test": len(test)}
        notes = [
            *notes,
            f"the test part is {round(100 * HELD_OUT)} % of every class, because the data has no parts",
        ]
    left_out = tuple(name for part in parts.values() for name in part.left_out)
    tokens = np.frombuffer(b"".join(text for case in cases for text in case), dtype=np.uint8)
    lengths = np.array([[len(text) for text in case] for case in cases])
    return Corpus(classes, 256, tokens, lengths, labels, counts, tuple(notes), left_out)
