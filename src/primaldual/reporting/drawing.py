"""From a matplotlib figure to an SVG that can stand inside a page."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from primaldual.reporting.palette import GREY

if TYPE_CHECKING:
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

STYLE: dict[str, Any] = {
    "font.size": 9.5,
    "axes.titlesize": 10,
    "axes.labelsize": 9.5,
    "axes.edgecolor": GREY,
    "axes.labelcolor": "#333a45",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e8ec",
    "grid.linewidth": 0.8,
    "xtick.color": "#555c68",
    "ytick.color": "#555c68",
    "legend.frameon": False,
    "svg.fonttype": "none",
    "figure.constrained_layout.use": True,
}
"""Settings of matplotlib for every figure of the library; ``plt.rcParams.update(STYLE)`` gives yours the same look."""


def svg(draw: Callable[[Figure], None], width: float, height: float, label: str) -> str:
    """Draw on a fresh figure and return its ``<svg>`` element, labelled for screen readers.

    Args:
        draw: fills the figure.
        width: inches; the page scales the drawing to its column.
        height: inches.
        label: what the figure shows, in words.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure as Canvas

    salt = hashlib.sha256(label.encode()).hexdigest()
    style: Any = {**STYLE, "svg.hashsalt": salt}
    with mpl.rc_context(style):
        figure = Canvas(figsize=(width, height))
        draw(figure)
        target = io.StringIO()
        figure.savefig(target, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = target.getvalue()
    body = text[text.index("<svg") :]
    opening = body[: body.index(">") + 1]
    viewbox = re.search(r'viewBox="[^"]*"', opening)
    assert viewbox is not None
    body = re.sub(r"<metadata>.*?</metadata>", "", body[len(opening) :], flags=re.DOTALL)
    attributes = f'{viewbox.group()} role="img" aria-label="{escape(label, quote=True)}"'
    names = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return f"<svg {attributes} {names}>{_own_ids(body, salt[:6])}"


def on_white(drawing: str) -> str:
    r"""The same drawing on white, as a file of its own that is read on dark pages too.

    Example:
        >>> on_white("<svg><path/></svg>")
        '<svg><rect width="100%" height="100%" fill="#ffffff"/><path/></svg>\n'
    """
    start = drawing.index(">") + 1
    return f'{drawing[:start]}<rect width="100%" height="100%" fill="#ffffff"/>{drawing[start:]}\n'


def shades(color: str) -> Colormap:
    """Colours from white to ``color``, for values from small to large."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("shades", ["#ffffff", color])


def wrapped(name: str, width: int = 14) -> str:
    """A spec on several lines, broken after ``+`` and ``,`` only.

    Example:
        >>> wrapped("bn(beta=0.8)+sh(1,1,2,4)").splitlines()
        ['bn(beta=0.8)+', 'sh(1,1,2,4)']
    """
    lines = [""]
    for piece in re.findall(r"[^+,]*[+,]?", name):
        if lines[-1] and len(lines[-1]) + len(piece) > width:
            lines.append("")
        lines[-1] += piece
    return "\n".join(lines)


def legend_below(figure: Figure, axes: Any, names: Sequence[str]) -> None:
    """A legend under the axes, in as many columns as the longest name allows."""
    columns = max(1, min(len(names), 62 // (max(map(len, names)) + 8)))
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, handlelength=3.2)


def _own_ids(body: str, prefix: str) -> str:
    """Prefix every id, because all figures share one page."""
    body = re.sub(r'\bid="', f'id="{prefix}-', body)
    body = re.sub(r"url\(#", f"url(#{prefix}-", body)
    return re.sub(r'href="#', f'href="#{prefix}-', body)
