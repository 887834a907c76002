"""The report of a run: one HTML file that needs nothing else."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from primaldual.experiments.report import REPORT_NAME, template, versions
from primaldual.images.figures import corruption_figure, curve_figure, rollout_figure
from primaldual.images.rollouts import example_rollouts
from primaldual.images.run_numbers import numbers_of
from primaldual.images.runs import ImageRun
from primaldual.reporting.files import write_text

EXAMPLES = 2
"""Test images whose rollouts are shown."""


def write_image_report(run: ImageRun) -> Path:
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


def render(run: ImageRun) -> str:
    """The report as HTML."""
    from markupsafe import Markup

    return template("images.html").render(
        numbers=numbers_of(run),
        title=f"{run.config['model']} with {run.config['attention']} on {Path(run.config['data']).name}",
        curves=Markup(curve_figure(run.state.history)),
        corruptions=Markup(corruption_figure(run.evaluation)),
        rollouts=[(one, Markup(rollout_figure(one))) for one in example_rollouts(run, EXAMPLES)],
        versions=versions(_PACKAGES),
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        hidden=_HIDDEN,
    )


_PACKAGES = ("primaldual", "torch", "torchvision", "timm", "accelerate", "numpy", "pillow", "scikit-learn")
_HIDDEN: tuple[Any, ...] = ("classes", "images")
"""Settings that are too long for the table."""
