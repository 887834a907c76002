from __future__ import annotations

import numpy as np
import pytest

from primaldual.errors import DataError
from primaldual.sequences.token_sets import TokenSet, bounds_of


def pairs():
    tokens = np.arange(10, dtype=np.uint8)
    return TokenSet("pairs", ("no", "yes"), 10, tokens, bounds_of([[1, 2], [4, 3]]), np.array([1, 0]), "x")


def test_a_case_may_be_a_pair():
    found = pairs()
    assert found.paired
    assert found.lengths.tolist() == [2, 4]
    assert found.sequence(1, 1).tolist() == [7, 8, 9]


def test_a_part_keeps_the_tokens_and_has_a_digest_of_its_own():
    found = pairs()
    part = found.part(np.array([1]))
    assert part.tokens is found.tokens
    assert part.sequence(0, 0).tolist() == [3, 4, 5, 6]
    assert part.digest != found.part(np.array([0])).digest


def test_one_class_cannot_be_learned():
    with pytest.raises(
        DataError, match="pairs: the only class of the training part is 'yes'; two are needed"
    ):
        pairs().part(np.array([0])).check_trainable()
