"""The report of a run: one HTML file that needs nothing else."""

from __future__ import annotations

from pathlib import Path

from primaldual.experiments.run_report import run_page, write_run_page
from primaldual.images.figures import corruption_figure, rollout_figure
from primaldual.images.rollouts import example_rollouts
from primaldual.images.run_numbers import numbers_of
from primaldual.images.runs import ImageRun

EXAMPLES = 2
"""Test images whose rollouts are shown."""
_PACKAGES = ("torchvision", "timm", "pillow", "scikit-learn")


def write_image_report(run: ImageRun) -> Path:
    """Write ``report.html`` into the folder of a run; see `write_run_page`."""
    return write_run_page(run.folder.path, render(run))


def render(run: ImageRun) -> str:
    """The report as HTML."""
    from markupsafe import Markup

    config = run.config
    return run_page(
        "images.html",
        f"{config['model']} with {config['attention']} on {Path(config['data']).name}",
        numbers_of(run),
        _PACKAGES,
        validated=run.parts.validation is not None,
        hidden=("classes", "images"),
        corruptions=Markup(corruption_figure(run.evaluation)),
        rollouts=[(one, Markup(rollout_figure(one))) for one in example_rollouts(run, EXAMPLES)],
    )
