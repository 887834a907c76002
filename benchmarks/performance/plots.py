"""Figures of a run, as SVG: ratio to SDPA by length, and cost by length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from benchmarks.performance.admission import BASELINE
from benchmarks.performance.goals import SCALES
from benchmarks.performance.plans import PEERS
from benchmarks.performance.programs import BOTH, FORWARD
from benchmarks.performance.results import Results, SweepRow
from benchmarks.performance.settings import Setting
from benchmarks.performance.wording import sizes_text
from primaldual.reporting.drawing import svg
from primaldual.reporting.palette import looks

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def figures(results: Results) -> dict[str, str]:
    """File name -> SVG; empty without a sweep over lengths at the usual sizes."""
    rows = curve_rows(results)
    if len({row.setting.length for row in rows}) < 2:
        return {}
    names = [name for name in PEERS if any(row.contender == name for row in rows)]
    sizes = sizes_text(rows[0].setting)
    return {
        "performance_ratio.svg": svg(
            lambda figure: _draw(figure, rows, names, ratios=True),
            7.2,
            4.2,
            f"Time by that of scaled_dot_product_attention, over the sequence length, {sizes}; forward on the left, "
            "forward and backward on the right.",
        ),
        "performance_growth.svg": svg(
            lambda figure: _draw(figure, rows, names, ratios=False),
            7.2,
            4.2,
            f"Milliseconds for 1000 tokens, over the sequence length, {sizes}: flat where the cost is linear, rising "
            "with the length where it is quadratic.",
        ),
    }


def curve_rows(results: Results) -> list[SweepRow]:
    """Rows of the sizes that have most lengths."""
    groups: dict[str, list[SweepRow]] = {}
    for row in results.sweeps:
        groups.setdefault(sizes_text(row.setting), []).append(row)
    return max(groups.values(), key=lambda rows: len({row.setting.length for row in rows}), default=[])


def _draw(figure: Figure, rows: Sequence[SweepRow], names: Sequence[str], ratios: bool) -> None:
    look = looks(names)
    panels: Any = figure.subplots(1, 2, sharey=True)
    for axes, direction in zip(panels, (FORWARD, BOTH), strict=True):
        for name in names:
            points = [row for row in rows if row.contender == name and row.direction == direction]
            if (ratios and name == BASELINE) or not points:
                continue
            lengths = [row.setting.length for row in points]
            middle = [row.ratio.median if ratios else _per_thousand(row) for row in points]
            style = look[name]
            axes.plot(
                lengths,
                middle,
                color=style.color,
                marker=style.marker,
                linestyle=style.dashes,
                markersize=4,
                linewidth=1.5,
                label=name,
            )
            if ratios:
                low = [row.ratio.lower for row in points]
                high = [row.ratio.upper for row in points]
                axes.fill_between(lengths, low, high, color=style.color, alpha=0.15, linewidth=0)
        if ratios:
            axes.axhline(1, color=look[BASELINE].color, linewidth=1.2)
            axes.annotate(
                "SDPA", (1, 1), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=8.5
            )
        _scales(axes, sorted({row.setting.length for row in rows}))
        axes.set_title(direction)
        axes.set_xlabel("N, sequence length")
    panels[0].set_ylabel("time / time of SDPA" if ratios else "ms per 1000 tokens")
    handles, labels = panels[0].get_legend_handles_labels()
    short = [label.replace(SCALES, "") for label in labels]
    figure.legend(handles, short, loc="outside lower center", ncols=3, handlelength=3.2)


def _per_thousand(row: SweepRow) -> float:
    return 1e6 * row.seconds.median / (_tokens(row.setting))


def _tokens(setting: Setting) -> int:
    return setting.batch * setting.length


def _scales(axes: Any, lengths: Sequence[int]) -> None:
    """Logarithmic, with the lengths themselves below and plain numbers at the side."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(lengths, [f"{length // 1024}k" if length >= 1024 else str(length) for length in lengths])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
