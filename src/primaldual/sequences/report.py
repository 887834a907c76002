"""The report of a run: one HTML file that needs nothing else."""

from __future__ import annotations

from pathlib import Path

from primaldual.experiments.run_report import run_page, write_run_page
from primaldual.sequences.run_numbers import numbers_of
from primaldual.sequences.runs import SequenceRun


def write_sequence_report(run: SequenceRun) -> Path:
    """Write ``report.html`` into the folder of a run; see `write_run_page`."""
    return write_run_page(run.folder.path, render(run))


def render(run: SequenceRun) -> str:
    """The report as HTML."""
    config = run.config
    return run_page(
        "sequences.html",
        f"{config['task']} with {config['attention']}, configuration {config['model']}",
        numbers_of(run),
        (),
        validated=run.parts.validation is not None,
        hidden=("sequences",),
    )
