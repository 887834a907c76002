"""Results as a table for the terminal and as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import JustifyMethod
from rich.table import Table

from primaldual.experiments import Comparison, Settings
from primaldual.experiments.summary import Summary
from primaldual.reporting.numbers import count_text, seconds_text, signed


def comparison_table(settings: Settings, summaries: Sequence[Summary], width: int) -> Table:
    """One row per attention; columns that do not fit into ``width`` are left to the report."""
    seeds = len(settings.seeds)
    headings = ["attention", "accuracy, %", f"minus {settings.baseline}, 95 %", "epoch", "inference", "work"]
    rows = [_cells(summary) for summary in summaries]
    shown = fitting(headings, rows, width)
    title = f"{Path(settings.source).stem}: test accuracy over {seeds} seed{'s'[: seeds != 1]}"
    return table_of(title, headings[:shown], [row[:shown] for row in rows])


def fitting(headings: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> int:
    """How many columns a terminal has room for, at least three."""
    widths = [max(map(len, column)) + 3 for column in zip(headings, *rows, strict=True)]
    return next(count for count in range(len(headings), 0, -1) if sum(widths[:count]) <= width or count == 3)


def table_of(
    title: str, headings: Sequence[str], rows: Iterable[Sequence[str]], numeric: bool = True
) -> Table:
    """A table of plain text; names in the first column.

    Args:
        title: above the table; "" for none.
        headings: of the columns.
        rows: the cells.
        numeric: the other columns hold numbers: to the right, never wrapped.
    """
    table = Table(title=title or None, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column(headings[0], style="bold", overflow="fold")
    for heading in headings[1:]:
        justify: JustifyMethod = "right" if numeric else "left"
        table.add_column(heading, justify=justify, no_wrap=numeric)
    for row in rows:
        table.add_row(*row)
    return table


def _cells(summary: Summary) -> list[str]:
    profile = summary.profile
    return [
        summary.attention,
        summary.accuracy.text(1, 100),
        _difference(summary),
        "" if summary.epoch_seconds is None else seconds_text(summary.epoch_seconds),
        "" if profile is None else seconds_text(profile.latency[0]),
        "" if profile is None else count_text(profile.total_flops),
    ]


def _difference(summary: Summary) -> str:
    found = summary.difference
    if found is None:
        return ""
    mean = signed(found.mean * 100)
    if found.low is None or found.high is None:
        return mean
    return f"{mean} ({signed(found.low * 100)} to {signed(found.high * 100)})"


def comparison_json(comparison: Comparison, summaries: Sequence[Summary], report: Path) -> str:
    """Everything but the learning curves and maps, which the results file and the report hold."""
    settings = comparison.settings
    rows = []
    for summary in summaries:
        profile = {} if summary.profile is None else asdict(summary.profile)
        rows.append(
            {
                "attention": summary.attention,
                "accuracy": asdict(summary.accuracy),
                "balanced_accuracy": asdict(summary.balanced_accuracy),
                "difference": None if summary.difference is None else asdict(summary.difference),
                "training_seconds": asdict(summary.seconds),
                "head_distance": [layer.mean for layer in summary.redundancy],
                "runs": [
                    {"seed": one.seed, "accuracy": one.accuracy, "best_epoch": one.best_epoch}
                    for one in summary.results
                ],
                **{
                    key: profile[key] for key in profile if key not in {"maps", "redundancy", "text", "latex"}
                },
            }
        )
    return json.dumps(
        {
            "data": comparison.train.name,
            "train_cases": len(comparison.train.X),
            "test_cases": len(comparison.test.X),
            "baseline": settings.baseline,
            "seeds": list(settings.seeds),
            "options": dict(settings.options),
            "attentions": rows,
            "results": str(comparison.store.path),
            "report": str(report),
        },
        indent=2,
    )
