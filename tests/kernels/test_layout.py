"""Layouts: what they refuse, and how many windows they have."""

import pytest

from primaldual.errors import ArgumentError, ShapeError
from primaldual.kernels.layout import SEQUENCE, Layout


@pytest.mark.parametrize("prefix", [-1, 1.5, True])
def test_prefix_is_a_number_of_tokens(prefix):
    with pytest.raises(ArgumentError, match=f"prefix must be an integer 0 or more; got {prefix}"):
        Layout(prefix=prefix)


@pytest.mark.parametrize("grid", [(0, 3), 8, (2, 3, 4), (2.0, 3)])
def test_grid_is_two_sides(grid):
    with pytest.raises(ArgumentError, match=r"grid must be \(rows, columns\), both integers 1 or more; got"):
        Layout(grid=grid)


def test_length_must_fit():
    with pytest.raises(ShapeError, match="grid 2x3 with prefix 1 needs 7 positions; got 6"):
        Layout((2, 3), 1).check(6)
    SEQUENCE.check(6)


@pytest.mark.parametrize("layout", [SEQUENCE, Layout(prefix=2), Layout((5, 7), 1), Layout((1, 4))])
@pytest.mark.parametrize("scale", [1, 2, 3])
def test_pooled_layout_has_the_windows(layout, scale):
    length = 36 if layout.grid is None else layout.prefix + layout.grid[0] * layout.grid[1]
    windows = layout.windows(length, scale)
    pooled = layout.pooled(scale)
    pooled.check(windows)
    assert pooled.prefix == layout.prefix
    if layout.grid is not None:
        assert windows == layout.prefix + pooled.grid[0] * pooled.grid[1]
