"""The data of ListOps: distinct trees from several processes, the same for any number of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np

from primaldual.errors import DataError
from primaldual.sequences.listops import WORDS, ListOps, Trees
from primaldual.sequences.numbered_batches import numbered_batches
from primaldual.sequences.stored_sets import stored_parts
from primaldual.sequences.token_sets import Corpus, SequenceParts, bounds_of

COUNTS = {"training": 96_000, "validation": 2_000, "test": 2_000}
"""Trees of each part."""

_DRAWN = 4096
"""Trees that are drawn at a time, of which about a third are kept."""
_FRUITLESS = 50
"""Rounds without a new tree after which there seem to be no more."""


def listops_parts(
    folder: Path, rules: ListOps, seed: int, counts: Mapping[str, int] = COUNTS, processes: int = 1
) -> SequenceParts:
    """The parts of ListOps, generated where they are not in the folder yet.

    Args:
        folder: where data sets are kept.
        rules: of the trees.
        seed: another seed gives other trees.
        counts: trees of each part.
        processes: that generate; the trees do not depend on it.

    Raises:
        DataError: there are too few distinct trees of these lengths.
        ArgumentError: the folder cannot be written.
    """
    key = {**asdict(rules), "seed": seed, **counts}
    return stored_parts(folder, "listops", key, partial(generated, rules, seed, counts, processes))


def generated(rules: ListOps, seed: int, counts: Mapping[str, int], processes: int = 1) -> Corpus:
    """Distinct trees; see :func:`listops_parts`.

    Example:
        >>> found = generated(ListOps(max_length=40), 0, {"training": 5, "test": 2})
        >>> len(found.labels), found.classes[:3]
        (7, ('0', '1', '2'))
    """
    wanted, seen = sum(counts.values()), set[bytes]()
    tokens, lengths, values, fruitless = [], [], [], 0
    for drawn in numbered_batches(partial(_batch, rules, seed), processes):
        before = len(seen)
        for (start, end), value in zip(bounds_of(drawn.lengths)[:, 0].tolist(), drawn.values, strict=True):
            tree = drawn.tokens[start:end]
            name = hashlib.blake2b(tree.data, digest_size=16).digest()
            if name not in seen and len(seen) < wanted:
                seen.add(name)
                tokens.append(tree)
                lengths.append(end - start)
                values.append(value)
        if len(seen) == wanted:
            break
        fruitless = 0 if len(seen) > before else fruitless + 1
        if fruitless == _FRUITLESS:
            raise DataError(
                f"listops: {len(seen)} distinct trees were found between {rules.min_length} and {rules.max_length} tokens "
                f"long; {wanted} are needed, so give a larger max_length"
            )
    classes = tuple(WORDS[:10])
    return Corpus(
        classes, len(WORDS), np.concatenate(tokens), np.array(lengths)[:, None], np.array(values), counts
    )


def _batch(rules: ListOps, seed: int, number: int) -> Trees:
    return rules.draw(np.random.default_rng(np.random.SeedSequence([seed, number])), _DRAWN)
