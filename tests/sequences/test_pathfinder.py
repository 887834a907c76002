from __future__ import annotations

import numpy as np
import pytest

from primaldual.errors import ArgumentError
from primaldual.sequences.pathfinder import CLEARANCE, DASH, DASHES, MARGIN, MARKER, SIDE, draw


@pytest.fixture(scope="module", params=list(DASHES))
def drawn(request):
    count = 24 if request.param == "hard" else 60
    return request.param, draw(np.random.default_rng(1), request.param, np.arange(count) % 2)


def components(dashes):
    """Numbers of the contours that dashes form whose ends are a gap apart; knows nothing of how they were drawn."""
    ends = dashes.reshape(-1, 2)
    linked = np.linalg.norm(ends[:, None] - ends, axis=-1) < MARGIN + 1e-6
    linked = linked.reshape(len(dashes), 2, len(dashes), 2).any((1, 3))
    number = np.arange(len(dashes))
    for _ in dashes:
        number = np.array([number[row].min() for row in linked])
    return number


def sampled(dash, count=41):
    return dash[0] + np.linspace(0, 1, count)[:, None] * (dash[1] - dash[0])


def test_the_label_is_found_again_in_shuffled_dashes(drawn):
    difficulty, found = drawn
    generator = np.random.default_rng(0)
    for dashes, markers, label in zip(found.dashes, found.markers, found.labels, strict=True):
        shuffled = generator.permutation(dashes)
        number = components(shuffled)
        sizes = np.unique(number, return_counts=True)[1]
        main = DASHES[difficulty]
        assert sorted(sizes) == [main // 3] * 5 + [main] * 2
        at = [number[np.linalg.norm(shuffled - marker, axis=-1).min(1).argmin()] for marker in markers]
        assert (at[0] == at[1]) == label
        assert all((number == one).sum() == main for one in at)


def test_dashes_have_their_length_and_keep_their_distance(drawn):
    _, found = drawn
    assert np.allclose(np.linalg.norm(found.dashes[:, :, 1] - found.dashes[:, :, 0], axis=-1), DASH)
    assert (found.dashes >= MARKER).all()
    assert (found.dashes <= SIDE - MARKER).all()
    points = np.stack([sampled(dash) for dash in found.dashes[0]])
    for first in range(len(points)):
        for second in range(first + 1, len(points)):
            apart = np.linalg.norm(points[first][:, None] - points[second], axis=-1).min()
            follows = second == first + 1 and found.contours[first] == found.contours[second]
            assert apart >= (MARGIN if follows else CLEARANCE) - 1e-9


def test_another_difficulty_is_refused():
    with pytest.raises(ArgumentError, match="one of easy, intermediate, hard; got 'hrd'; did you mean hard"):
        draw(np.random.default_rng(0), "hrd", np.array([0]))
