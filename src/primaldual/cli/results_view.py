"""What the terminal shows of finished runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from primaldual.cli.screen import visible
from primaldual.cli.tables import fitting, table_of
from primaldual.experiments.comparing import Groups
from primaldual.experiments.comparing.runs import Change
from primaldual.experiments.store import Failure, Result
from primaldual.reporting.numbers import interval_text, seconds_text, signed

if TYPE_CHECKING:
    from rich.table import Table

_WARNING = "; optimistic: best test epoch"


def mean_table(results: Sequence[Result], width: int) -> Table:
    """Mean ± deviation, a row for each data set and method, as many columns as the terminal has room for."""
    groups = Groups(results)
    rows = [
        [
            data,
            method,
            group.accuracy.text(1, 100),
            interval_text(group.interval).strip(" ()"),
            str(group.accuracy.count),
            seconds_text(group.seconds),
        ]
        for data in groups.data
        for method in groups.methods
        if (group := groups.of(data, method)) is not None
    ]
    title = f"Test accuracy in percent, mean ± deviation over seeds{_WARNING if groups.optimistic else ''}"
    headings = ["data set", "method", "accuracy", "95 % interval", "seeds", "training"]
    shown = fitting(headings, rows, width)
    return table_of(title, headings[:shown], [row[:shown] for row in rows])


def cell_table(results: Sequence[Result]) -> Table:
    """A row for each run."""
    rows = [
        [
            one.data,
            one.method,
            str(one.seed),
            f"{one.accuracy * 100:.2f}" + (" optimistic" if one.optimistic else ""),
            "" if one.best_epoch is None else str(one.best_epoch),
            seconds_text(one.seconds),
            one.key[:12],
        ]
        for one in results
    ]
    return table_of("", ["data set", "method", "seed", "accuracy, %", "epoch", "training", "cell"], rows)


def change_table(changes: Sequence[Change], here: str, there: str) -> Table:
    """Every group here against there."""
    rows = [
        [
            one.data,
            one.method,
            f"{one.here * 100:.1f}",
            f"{one.there * 100:.1f}",
            signed(one.difference.mean * 100),
            ""
            if one.difference.low is None or one.difference.high is None
            else interval_text((one.difference.low, one.difference.high), sign=True).strip(" ()"),
            str(one.difference.count),
        ]
        for one in changes
    ]
    title = f"Test accuracy in percent: {here} against {there}"
    return table_of(
        title, ["data set", "method", "here", "there", "difference", "95 % interval", "seeds"], rows
    )


def failure_text(failures: Sequence[Failure]) -> str:
    """Every failure with its traceback."""
    if not failures:
        return "No run has failed."
    return "\n".join(
        visible(f"{one.title}\n  {one.kind}: {one.message}\n{one.traceback}").rstrip() for one in failures
    )
