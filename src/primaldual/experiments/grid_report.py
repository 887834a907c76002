"""The page of a grid: one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from primaldual.experiments.comparing import Groups, Overview, overview
from primaldual.experiments.comparing.classes import class_table
from primaldual.experiments.grid_figures import pareto_figure, rank_figure, set_figure
from primaldual.experiments.literature import Published
from primaldual.experiments.planning import OpenGrid
from primaldual.experiments.report import REPORT_NAME, template, versions
from primaldual.experiments.statistics import CONFIDENCE
from primaldual.experiments.store import Failure
from primaldual.reporting.files import write_text
from primaldual.reporting.numbers import seconds_text
from primaldual.reporting.palette import looks


def write_grid_report(opened: OpenGrid, command: str, published: Sequence[Published] = ()) -> Path:
    """Write ``report.html`` into the output folder, whole or not at all.

    Args:
        opened: the grid; missing and failed cells are named.
        command: the command line that makes this report.
        published: numbers of others, shown as theirs.

    Returns:
        The path of the report.

    Raises:
        ArgumentError: the folder cannot be written.
    """
    labels = [method.label for method in opened.grid.competitors()]
    groups = Groups(opened.finished, labels, list(opened.sizes))
    found = overview(groups) if groups.methods else None
    counts = {"all": len(opened.cells), "finished": len(opened.finished), "missing": len(opened.missing)}
    page = render_grid(found, groups, opened.failed, counts, opened.sizes, command, published)
    target = opened.store.folder / REPORT_NAME
    write_text(target, page)
    return target


def render_grid(
    found: Overview | None,
    groups: Groups,
    failures: Sequence[Failure],
    counts: Mapping[str, int],
    sizes: Mapping[str, str],
    command: str,
    published: Sequence[Published] = (),
) -> str:
    """The page as HTML.

    Args:
        found: numbers of the methods; None when nothing has finished.
        groups: the finished cells.
        failures: cells that failed.
        counts: cells by "all", "finished" and "missing".
        sizes: of every data set, in words.
        command: the command line that makes this report.
        published: numbers of others, shown as theirs.
    """
    look = looks(groups.methods)
    results = [
        result
        for data in groups.data
        for method in groups.methods
        if (group := groups.of(data, method)) is not None
        for result in group.results
    ]
    return template("grid.html").render(
        found=found,
        groups=groups,
        failures=failures,
        counts=counts,
        sizes=sizes,
        looks=look,
        headline=_headline(found, counts),
        figures=_figures(found, groups, look),
        methods={result.method: result.config for result in results},
        protocols=_distinct([result.config["protocol"] for result in results]),
        classes={data: class_table(groups, data) for data in groups.data},
        confidence=round(CONFIDENCE * 100),
        command=command,
        published=published,
        versions=versions(),
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def _headline(found: Overview | None, counts: Mapping[str, int]) -> str:
    """What the grid shows, and no more, in a few sentences."""
    if found is None:
        return f"None of {counts['all']} runs has finished."
    unfinished = counts["all"] - counts["finished"]
    note = f" {unfinished} of {counts['all']} runs are missing or failed." if unfinished else ""
    best = found.rows[0]
    if best.accuracy is None:
        return f"No data set has results of every method yet.{note}"
    sets = len(found.groups.common)
    first = f"{best.method} has the highest mean test accuracy, {best.accuracy * 100:.1f} %"
    if best.accuracy_interval is not None:
        low, high = (end * 100 for end in best.accuracy_interval)
        first += f" ({round(CONFIDENCE * 100)} % interval {low:.1f} to {high:.1f})"
    plural = "s"[: sets != 1]
    first += f", over {sets} data set{plural}, for {seconds_text(best.cost)} of processor time to train and predict."
    ranked = found.ranking
    if ranked is None:
        return f"{first} One data set cannot say which method is better on others.{note}"
    count = len(ranked.methods)
    first_clique = next((last for start, last in ranked.cliques if start == 0), 0)
    told = (
        "the tests over data sets tell no two methods apart"
        if ranked.cliques == ((0, count - 1),)
        else f"{ranked.methods[0]} has the best mean rank, {ranked.ranks[0]:.2f}"
        + (
            f", and is not told apart from {', '.join(ranked.methods[1 : first_clique + 1])}"
            if first_clique
            else ""
        )
    )
    return f"{first} {told[0].upper()}{told[1:]}.{note}"


def _figures(found: Overview | None, groups: Groups, look: Any) -> dict[str, Any]:
    from markupsafe import Markup

    drawn = {
        "sets": {data: Markup(set_figure(groups, data, look)) for data in groups.data if _any(groups, data)}
    }
    if found is None:
        return drawn
    rows = found.rows
    time = "processor time of training and predicting, s"
    return {
        **drawn,
        "ranks": Markup(rank_figure(found.ranking, look)),
        "time": Markup(pareto_figure(rows, look, lambda row: row.cost, time)),
        "operations": Markup(
            pareto_figure(rows, look, lambda row: row.operations, "operations of one series")
        ),
        "heads": Markup(
            pareto_figure(rows, look, lambda row: row.head_distance, "distance between heads", log=False)
        ),
    }


def _any(groups: Groups, data: str) -> bool:
    return any(groups.of(data, method) for method in groups.methods)


def _distinct(values: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    found: list[dict[str, str]] = []
    for value in values:
        if value not in found:
            found.append(value)
    return found
