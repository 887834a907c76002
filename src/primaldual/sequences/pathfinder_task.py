"""The data of Pathfinder: pictures as sequences of grey pixels, row by row."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from primaldual.errors import ArgumentError, did_you_mean
from primaldual.sequences.numbered_batches import numbered_batches
from primaldual.sequences.pathfinder import DASHES, SIDE, draw
from primaldual.sequences.pathfinder_pictures import rendered
from primaldual.sequences.stored_sets import stored_parts
from primaldual.sequences.token_sets import Corpus, SequenceParts

COUNTS = {"training": 160_000, "validation": 20_000, "test": 20_000}
"""Pictures of each part, as in Long Range Arena."""

_DRAWN = 512
"""Pictures that are drawn at a time."""


def pathfinder_parts(
    folder: Path, difficulty: str, seed: int, counts: Mapping[str, int] = COUNTS, processes: int = 1
) -> SequenceParts:
    """The parts of Pathfinder32, generated where they are not in the folder yet.

    Args:
        folder: where data sets are kept.
        difficulty: "easy", "intermediate" or "hard".
        seed: another seed gives other pictures.
        counts: pictures of each part.
        processes: that generate; the pictures do not depend on it.

    Raises:
        ArgumentError: another difficulty, or a folder that cannot be written.
    """
    if difficulty not in DASHES:
        hint = did_you_mean(difficulty, DASHES)
        raise ArgumentError(f"difficulty must be one of {', '.join(DASHES)}; got {difficulty!r}{hint}")
    key = {"difficulty": difficulty, "seed": seed, **counts}
    make = partial(generated, difficulty, seed, counts, processes)
    return stored_parts(folder, f"pathfinder-{difficulty}", key, make)


def generated(difficulty: str, seed: int, counts: Mapping[str, int], processes: int = 1) -> Corpus:
    """Pictures, every other one with both markers on one contour; see :func:`pathfinder_parts`.

    Example:
        >>> found = generated("easy", 0, {"training": 4, "test": 2})
        >>> len(found.tokens) // len(found.labels), found.labels.tolist()
        (1024, [0, 1, 0, 1, 0, 1])
    """
    wanted = sum(counts.values())
    pictures: list[npt.NDArray[np.uint8]] = []
    batches = numbered_batches(partial(_batch, difficulty, seed, _even(min(wanted, _DRAWN))), processes)
    while sum(map(len, pictures)) < wanted:
        pictures.append(next(batches))
    tokens = np.concatenate(pictures)[:wanted].reshape(-1)
    lengths = np.full((wanted, 1), SIDE * SIDE)
    return Corpus(("apart", "connected"), 256, tokens, lengths, _labels(wanted), counts)


def _batch(difficulty: str, seed: int, count: int, number: int) -> npt.NDArray[np.uint8]:
    generator = np.random.default_rng(np.random.SeedSequence([seed, number]))
    return rendered(draw(generator, difficulty, _labels(count)))


def _even(count: int) -> int:
    """So that labels alternate over batches, too."""
    return count + count % 2


def _labels(count: int) -> npt.NDArray[np.int64]:
    return np.arange(count) % 2
