"""Colours, and one look per attention, the same in every figure and table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# Okabe and Ito's colours, told apart with every common colour vision; yellow is left out: too pale on white.
INK, BLUE, ORANGE, GREEN, PINK, OCHRE = "#3b3b3b", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b07900"
GREY = "#8a8f98"
"""For axes and reference lines."""

_COLORS = (INK, BLUE, ORANGE, GREEN, PINK, OCHRE, "#2f9fd8", "#7b4ea3", "#7a4a2b")
_MARKERS = "osD^vPX<>"
_DASHES: tuple[tuple[float, tuple[float, ...]], ...] = (
    (0, ()),
    (0, (5, 1.5)),
    (0, (1.5, 1.2)),
    (0, (6, 1.5, 1.5, 1.5)),
)


@dataclass(frozen=True)
class Look:
    """How an attention is drawn; marker and dashes tell it apart without colour."""

    color: str
    marker: str
    dashes: tuple[float, tuple[float, ...]]


def looks(attentions: Sequence[str]) -> dict[str, Look]:
    """A look for every attention, by its place in the list.

    Example:
        >>> looks(["softmax", "bn"])["bn"].color
        '#0072b2'
    """
    return {
        attention: Look(_COLORS[place % 9], _MARKERS[place % 9], _DASHES[place % 4])
        for place, attention in enumerate(attentions)
    }
