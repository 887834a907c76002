"""Figures of a grid: ranks, accuracy against cost, accuracy on every data set."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from primaldual.experiments.comparing import Groups, Ranking, Row
from primaldual.reporting.drawing import legend_below, svg, wrapped
from primaldual.reporting.palette import GREY, INK, Look

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WIDTH = 5.0

Looks = Mapping[str, Look]


def rank_figure(ranking: Ranking | None, looks: Looks) -> str:
    """Mean ranks, best at the left; bars join methods that the tests do not tell apart. Empty without ranks."""
    if ranking is None:
        return ""
    count = len(ranking.methods)

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.set_xlim(0.8, count + 0.2)
        axes.set_ylim(len(ranking.cliques) + 0.8 + count, -0.6)
        axes.set_xlabel("mean rank; 1 is best")
        axes.xaxis.set_label_position("top")
        axes.xaxis.tick_top()
        axes.set_xticks(range(1, count + 1))
        axes.yaxis.set_visible(False)
        for side in ("left", "bottom"):
            axes.spines[side].set_visible(False)
        axes.spines["top"].set_visible(True)
        for row, (first, last) in enumerate(ranking.cliques):
            ends = ranking.ranks[first] - 0.04, ranking.ranks[last] + 0.04
            axes.plot(ends, [row + 0.1] * 2, color=INK, lw=4, solid_capstyle="butt")
        for place, (method, rank) in enumerate(zip(ranking.methods, ranking.ranks, strict=True)):
            line = len(ranking.cliques) + place + 0.3
            look = looks[method]
            axes.plot([rank, rank], [-0.6, line], color=GREY, lw=0.8, zorder=1)
            axes.plot(rank, line, look.marker, color=look.color, ms=7)
            left = rank > (count + 1) / 2
            offset = (-8, 0) if left else (8, 0)
            axes.annotate(
                f"{method}  {rank:.2f}", (rank, line), xytext=offset, textcoords="offset points", va="center",
                ha="right" if left else "left", bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},
            )  # fmt: skip

    words = "; ".join(f"{name} {rank:.2f}" for name, rank in zip(ranking.methods, ranking.ranks, strict=True))
    return svg(draw, _WIDTH, 0.9 + 0.3 * (count + len(ranking.cliques)), f"Mean ranks: {words}")


def pareto_figure(
    rows: Sequence[Row], looks: Looks, cost: Callable[[Row], float | None], title: str, log: bool = True
) -> str:
    """Accuracy against a cost; a line joins the methods that nothing beats in both. Empty with fewer than two."""
    shown = [
        (row, row.accuracy, found)
        for row in rows
        if row.accuracy is not None and (found := cost(row)) is not None and (found > 0 or not log)
    ]
    if len(shown) < 2:
        return ""

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        for row, accuracy, found in shown:
            look = looks[row.method]
            if row.accuracy_interval is not None:
                ends = [end * 100 for end in row.accuracy_interval]
                axes.plot([found, found], ends, color=look.color, lw=1.2, alpha=0.6)
            mark = look.marker
            axes.plot(found, accuracy * 100, mark, color=look.color, ms=8, ls="", label=row.method)
        if log:
            axes.set_xscale("log")
            best = sorted((found, -accuracy) for _, accuracy, found in shown)
            front = [
                one for place, one in enumerate(best) if all(one[1] < other[1] for other in best[:place])
            ]
            points = [found for found, _ in front], [-accuracy * 100 for _, accuracy in front]
            axes.plot(*points, color=GREY, lw=1, ls=(0, (4, 2)), zorder=0.5)
        axes.set_xlabel(title)
        axes.set_ylabel("mean test accuracy, %")
        legend_below(figure, axes, [row.method for row, _, _ in shown])

    words = "; ".join(f"{row.method} {accuracy * 100:.1f} percent" for row, accuracy, _ in shown)
    return svg(draw, _WIDTH, 3.4 + 0.12 * len(shown), f"Mean accuracy against {title}: {words}")


def set_figure(groups: Groups, data: str, looks: Looks) -> str:
    """Accuracy of every method on a data set: bars of the mean, bootstrap intervals, single seeds."""
    found = [group for method in groups.methods if (group := groups.of(data, method)) is not None]

    def draw(figure: Figure) -> None:
        axes: Any = figure.add_subplot()
        for row, group in enumerate(found):
            look = looks[group.method]
            axes.barh(row, group.accuracy.mean * 100, color=look.color, height=0.62, alpha=0.55)
            values = [result.accuracy * 100 for result in group.results]
            axes.plot(values, [row] * len(values), "o", mfc="none", mec=INK, ms=4, mew=0.8)
            if group.interval is not None:
                axes.plot([end * 100 for end in group.interval], [row, row], color=INK, lw=1.6)
        axes.set_yticks(range(len(found)), [wrapped(group.method, 22) for group in found])
        axes.set_ylim(len(found) - 0.5, -0.5)
        axes.set_xlim(0, 101)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("test accuracy, %")

    words = "; ".join(f"{group.method} {group.accuracy.text(1, 100)} percent" for group in found)
    lines = sum(wrapped(group.method, 22).count("\n") + 1 for group in found)
    return svg(draw, _WIDTH, 0.8 + 0.3 * max(lines, len(found)), f"Accuracy on {data}: {words}")
