from __future__ import annotations

import numpy as np

from primaldual.sequences.pathfinder import MARKER, Drawings
from primaldual.sequences.pathfinder_pictures import CONTRAST, THICKNESS, rendered

FAR = np.array([[1e3, 1e3], [1e3, 1e3]])


def one(dash, markers=FAR):
    return rendered(Drawings(np.array([[dash]]), np.zeros(1), np.array([markers]), np.zeros(1)))[0]


def test_a_dash_covers_what_its_length_and_thickness_say():
    """Along a row of pixels, its middle on theirs: half of each is covered over the length, less around the ends."""
    picture = one([[10.0, 16.5], [12.0, 16.5]])
    assert picture[16, 10] == picture[16, 11] == round(255 * CONTRAST * THICKNESS)
    assert picture[15].max() == 0
    assert picture[16, 9] == round(255 * CONTRAST * 0.25)
    assert picture[16, 8] == picture[16, 13] == 0


def test_columns_are_x_and_rows_are_y_and_every_dash_is_complete():
    picture = one([[3.5, 20.0], [3.5, 22.0]])
    assert picture[20:22, 3].min() > 0
    distances = np.abs(np.arange(32) + 0.5 - 3.5)
    assert ((picture > 0).any(0) == (distances < (1 + THICKNESS) / 2)).all()


def test_markers_are_discs():
    dash, markers = FAR, np.array([[8.5, 8.5], [31.0, 31.0]])
    picture = one(dash, markers)
    grid = np.stack(np.meshgrid(*2 * [np.arange(32) + 0.5]), -1)
    near = np.minimum(*(np.linalg.norm(grid - marker, axis=-1) for marker in markers))
    assert (picture[near < MARKER - 0.5] == 255).all()
    assert (picture[near > MARKER + 0.5] == 0).all()
    assert ((picture > 0) & (picture < 255)).any()
