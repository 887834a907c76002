"""What the terminal shows of a grid."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from primaldual.cli.tables import fitting, table_of
from primaldual.experiments.comparing import Groups, Overview, Row, overview
from primaldual.reporting.numbers import interval_text, seconds_text, signed

if TYPE_CHECKING:
    from rich.table import Table

    from primaldual.experiments.planning import OpenGrid


def grid_overview(opened: OpenGrid) -> Overview:
    """The numbers of a grid's finished cells."""
    labels = [method.label for method in opened.grid.competitors()]
    return overview(Groups(opened.finished, labels, list(opened.sizes)))


def grid_table(opened: OpenGrid, width: int) -> Table:
    """A row for each method, as many columns as the terminal has room for.

    Args:
        opened: the grid.
        width: columns of the terminal.
    """
    found = grid_overview(opened)
    sets, all_sets = len(found.groups.common), len(opened.sizes)
    over = f"{sets} data set{'s'[: sets != 1]}" + (f" of {all_sets}" if sets < all_sets else "")
    warning = "; optimistic: best test epoch" if found.groups.optimistic else ""
    seeds = len(opened.grid.seeds)
    title = f"Mean test accuracy over {over}, {seeds} seed{'s'[: seeds != 1]}{warning}"
    headings = [
        "method",
        "accuracy, %",
        f"minus {found.baseline}, 95 %",
        "won/drawn/lost",
        "mean rank",
        "processor time",
    ]
    rows = [_cells(row) for row in found.rows]
    shown = fitting(headings, rows, width)
    return table_of(title, headings[:shown], [row[:shown] for row in rows])


def grid_json(opened: OpenGrid, report: Path) -> dict[str, Any]:
    """The same numbers and every difference, for programs."""
    found = grid_overview(opened) if opened.finished else None
    return {
        "runs": len(opened.cells),
        "finished": len(opened.finished),
        "failed": [asdict(failure) for failure in opened.failed],
        "optimistic": bool(found and found.groups.optimistic),
        "baseline": found.baseline if found else None,
        "data": found.groups.common if found else [],
        "methods": [asdict(row) for row in found.rows] if found else [],
        "friedman_p": found.ranking.friedman if found and found.ranking else None,
        "results": str(opened.store.path),
        "report": str(report),
    }


def failure_lines(opened: OpenGrid) -> Iterator[str]:
    """A line for each cell that failed, and how to go on."""
    failures = opened.failed
    for failure in failures:
        yield f"Failed ({failure.kind}): {failure.title}: {failure.message}"
    if failures:
        yield "Tracebacks are in the report; --retry-failed runs these cells again."


def _cells(row: Row) -> list[str]:
    return [
        row.method,
        "" if row.accuracy is None else f"{row.accuracy * 100:.1f}{interval_text(row.accuracy_interval)}",
        ""
        if row.difference is None
        else f"{signed(row.difference * 100)}{interval_text(row.difference_interval, sign=True)}",
        "" if row.wins is None else "/".join(map(str, row.wins)),
        "" if row.rank is None else f"{row.rank:.2f}",
        seconds_text(row.cost),
    ]
