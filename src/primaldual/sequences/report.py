"""The report of a run: one HTML file that needs nothing else."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from primaldual.experiments.report import REPORT_NAME, template, versions
from primaldual.images.figures import curve_figure
from primaldual.reporting.files import write_text
from primaldual.sequences.run_numbers import numbers_of
from primaldual.sequences.runs import SequenceRun

_PACKAGES = ("primaldual", "torch", "accelerate", "numpy")


def write_sequence_report(run: SequenceRun) -> Path:
    """Write ``report.html`` into the folder of a run, whole or not at all.

    Args:
        run: finished.

    Returns:
        The path of the report.

    Raises:
        ArgumentError: the folder cannot be written.
    """
    target = run.folder.path / REPORT_NAME
    write_text(target, render(run))
    return target


def render(run: SequenceRun) -> str:
    """The report as HTML."""
    from markupsafe import Markup

    return template("sequences.html").render(
        numbers=numbers_of(run),
        title=f"{run.config['task']} with {run.config['attention']}, configuration {run.config['model']}",
        curves=Markup(curve_figure(run.state.history)),
        versions=versions(_PACKAGES),
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )
