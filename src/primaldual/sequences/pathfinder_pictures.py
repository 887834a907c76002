"""Pathfinder as grey pictures, antialiased."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from primaldual.sequences.pathfinder import DASH, MARKER, SIDE, Drawings, Real, squared_distances

THICKNESS = 0.5
"""Of a dash, in pixels."""
CONTRAST = 0.75
"""Brightness of a dash that covers a whole pixel; markers have 1."""

_REACH = int(np.ceil(DASH / 2 + (1 + THICKNESS) / 2)) + 1
_MARKER_REACH = int(np.ceil(MARKER + 0.5)) + 1


def rendered(drawings: Drawings) -> npt.NDArray[np.uint8]:
    """Pictures (images, 32, 32).

    A pixel takes the share of it that a line of this thickness and distance covers, as if it lay along the line:
    min(thickness, max(0, (1 + thickness) / 2 - distance)). Where several things cover it, the brightest counts.

    Args:
        drawings: the geometry.

    Example:
        >>> from primaldual.sequences.pathfinder import draw
        >>> pictures = rendered(draw(np.random.default_rng(0), "easy", np.array([0, 1])))
        >>> pictures.shape, int(pictures.max())
        ((2, 32, 32), 255)
    """
    canvas = np.zeros((len(drawings.labels), SIDE, SIDE))
    dashes = drawings.dashes
    covered, places = _around(dashes.mean(-2), _REACH)
    away = np.sqrt(squared_distances(places, dashes[:, :, None]))
    _paint(canvas, covered, CONTRAST * np.clip((1 + THICKNESS) / 2 - away, 0, THICKNESS))
    covered, places = _around(drawings.markers, _MARKER_REACH)
    away = np.sqrt(((places - drawings.markers[:, :, None]) ** 2).sum(-1))
    _paint(canvas, covered, np.clip(MARKER + 0.5 - away, 0, 1))
    return np.round(255 * canvas).astype(np.uint8)


def _around(middles: Real, reach: int) -> tuple[npt.NDArray[np.int64], Real]:
    """The pixels near (images, things, 2), as (images, things, pixels, 2) columns and rows, and their middles."""
    steps = np.arange(-reach, reach + 1)
    square = np.stack(np.meshgrid(steps, steps), -1).reshape(-1, 2)
    covered = np.floor(middles).astype(np.int64)[:, :, None] + square
    return covered, covered + 0.5


def _paint(canvas: Real, covered: npt.NDArray[np.int64], brightness: Real) -> None:
    inside = ((covered >= 0) & (covered < SIDE)).all(-1) & (brightness > 0)
    images = np.broadcast_to(np.arange(len(canvas))[:, None, None], inside.shape)[inside]
    columns, rows = covered[inside].T
    np.maximum.at(canvas, (images, rows, columns), brightness[inside])
