"""The geometry of Pathfinder: dashed contours, two of whose ends are marked, grown for many images at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from primaldual.errors import ArgumentError, did_you_mean

Real = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]

SIDE = 32
"""Pixels a side."""
DASH = 2.0
"""Length of a dash, in pixels."""
MARGIN = 1.0
"""Between the dashes of a contour, in pixels."""
CLEARANCE = 1.5
"""Least distance of dashes that do not follow each other; ours, larger than the margin so that contours are told apart."""
BEND = np.pi / 4
"""Largest turn from dash to dash; ours."""
MARKER = 1.25
"""Radius of a marker and least distance of a dash from the edge of the image; ours."""
DISTRACTORS = 5

DASHES: Mapping[str, int] = {"easy": 6, "intermediate": 9, "hard": 14}
"""Dashes of a main contour by difficulty."""

_CANDIDATES = 8
"""Dashes that are tried at a time."""
_BACK = 3
"""Dashes that are taken back where none can follow."""
_RESTARTS = 60
"""Failures after which an image begins anew."""
_NOWHERE = 1e3


@dataclass(frozen=True)
class Drawings:
    """The geometry of images, in pixels from the upper left corner.

    Attributes:
        dashes: (images, dashes, 2 ends, 2): x and y.
        contours: (dashes,): number of the contour of every dash; 0 and 1 are the main ones.
        markers: (images, 2, 2): x and y of the middles.
        labels: (images,): 1 where the markers lie on one contour.
    """

    dashes: Real
    contours: Whole
    markers: Real
    labels: Whole


def draw(generator: np.random.Generator, difficulty: str, labels: Whole) -> Drawings:
    """Grow the contours of as many images as there are labels, and mark two ends.

    Every image has two main contours and five distractors of a third of their length. The markers lie on both ends of
    the first main contour, or on one end of each: the pair of ends whose distance is most like that of the former,
    because else the distance of the markers would tell much of the label. All else does not depend on the label.

    Args:
        generator: draws.
        difficulty: a key of `DASHES`.
        labels: (images,), 0 or 1.

    Raises:
        ArgumentError: another difficulty.

    Reference: Linsley et al., "Learning long-range spatial dependencies with horizontal gated recurrent units",
    NeurIPS 2018; Tay et al., "Long Range Arena", ICLR 2021. An own construction by their numbers.

    Example:
        >>> drawn = draw(np.random.default_rng(0), "easy", np.array([0, 1]))
        >>> drawn.dashes.shape, drawn.markers.shape
        ((2, 22, 2, 2), (2, 2, 2))
    """
    if difficulty not in DASHES:
        hint = did_you_mean(difficulty, DASHES)
        raise ArgumentError(f"difficulty must be one of {', '.join(DASHES)}; got {difficulty!r}{hint}")
    main = DASHES[difficulty]
    contours = np.repeat(np.arange(2 + DISTRACTORS), [main, main, *[main // 3] * DISTRACTORS])
    dashes = _grown(generator, contours, len(labels))
    ends = dashes[:, [[0, main - 1], [main, 2 * main - 1]], [0, 1]]  # (images, contour, end, 2)
    images = np.arange(len(labels))
    apart = np.linalg.norm(ends[:, 0, :, None] - ends[:, 1, None], axis=-1)  # (images, end of 0, end of 1)
    length = np.linalg.norm(ends[:, 0, 0] - ends[:, 0, 1], axis=-1)
    pair = np.abs(apart - length[:, None, None]).reshape(-1, 4).argmin(1)
    second = np.where(labels[:, None] == 1, ends[images, 0, 1 - pair // 2], ends[images, 1, pair % 2])
    first = ends[images, 0, pair // 2]
    return Drawings(dashes, contours, np.stack([first, second], 1), labels)


def _grown(generator: np.random.Generator, contours: Whole, count: int) -> Real:
    """(images, dashes, 2, 2). A contour that cannot go on takes dashes back; after many failures the image begins anew."""
    firsts = np.searchsorted(contours, contours)
    dashes = np.full((count, len(contours), 2, 2), _NOWHERE)
    done, failures = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
    active = np.arange(count)
    while len(active):
        number = done[active]
        begins = firsts[number] == number
        before = dashes[active, number - 1]
        tried = np.where(
            begins[:, None, None, None], _anywhere(generator, len(active)), _following(generator, before)
        )
        others = dashes[active]
        follows = np.flatnonzero(~begins)
        others[follows, number[follows] - 1] = _NOWHERE
        fits = _inside(tried) & _clear(tried, others)
        found = fits.any(1)
        placed = active[found]
        dashes[placed, number[found]] = tried[found, fits[found].argmax(1)]
        done[placed] += 1
        lost = active[~found]
        failures[lost] += 1
        back = np.maximum(firsts[done[lost]], done[lost] - _BACK)
        back[failures[lost] % _RESTARTS == 0] = 0
        done[lost] = back
        cleared = np.arange(len(contours)) >= back[:, None]
        dashes[lost] = np.where(cleared[..., None, None], _NOWHERE, dashes[lost])
        active = active[done[active] < len(contours)]
    return dashes


def _anywhere(generator: np.random.Generator, count: int) -> Real:
    """(images, candidates, 2, 2): dashes of any direction."""
    start = generator.uniform(MARKER, SIDE - MARKER, (count, _CANDIDATES, 2))
    return _dash(start, generator.uniform(0, 2 * np.pi, (count, _CANDIDATES)))


def _following(generator: np.random.Generator, before: Real) -> Real:
    """Dashes that follow (images, 2, 2) after a gap."""
    step = before[:, 1] - before[:, 0]
    angle = np.arctan2(step[:, 1], step[:, 0])[:, None]
    bend = generator.uniform(-BEND, BEND, (len(before), _CANDIDATES))
    return _dash(before[:, None, 1] + MARGIN * _direction(angle + bend / 2), angle + bend)


def _dash(start: Real, angle: Real) -> Real:
    return np.stack([start, start + DASH * _direction(angle)], -2)


def _direction(angle: Real) -> Real:
    return np.stack([np.cos(angle), np.sin(angle)], -1)


def _inside(dashes: Real) -> npt.NDArray[np.bool_]:
    inside = (dashes >= MARKER) & (dashes <= SIDE - MARKER)
    fits: npt.NDArray[np.bool_] = np.logical_and.reduce(inside, axis=(-1, -2))
    return fits


def _clear(tried: Real, others: Real) -> npt.NDArray[np.bool_]:
    """Whether (images, candidates, 2, 2) keep the clearance from all (images, dashes, 2, 2).

    Dashes that cross have an end within half a dash of the other one, so the distances of the ends suffice.
    """
    between = tried.mean(-2)[:, :, None] - others.mean(-2)[:, None]
    images, candidates, near = np.nonzero((between**2).sum(-1) < (DASH + CLEARANCE) ** 2)
    ours, theirs = tried[images, candidates], others[images, near]
    squares = [squared_distances(ours[:, end], theirs) for end in (0, 1)]
    squares += [squared_distances(theirs[:, end], ours) for end in (0, 1)]
    clear = np.ones(tried.shape[:2], dtype=bool)
    close = np.minimum.reduce(squares) < CLEARANCE**2
    clear[images[close], candidates[close]] = False
    return clear


def squared_distances(points: Real, dashes: Real) -> Real:
    """Squared distances of points (..., 2) from dashes (..., 2, 2).

    Example:
        >>> squared_distances(np.array([1.0, 3.0]), np.array([[0.0, 0.0], [2.0, 0.0]]))
        np.float64(9.0)
    """
    x, y = points[..., 0] - dashes[..., 0, 0], points[..., 1] - dashes[..., 0, 1]
    along_x, along_y = (dashes[..., 1, axis] - dashes[..., 0, axis] for axis in (0, 1))
    length = along_x * along_x + along_y * along_y
    share = np.clip((x * along_x + y * along_y) / np.where(length > 0, length, 1.0), 0, 1)
    return (x - share * along_x) ** 2 + (y - share * along_y) ** 2
