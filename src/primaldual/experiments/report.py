"""The report: one HTML file that needs nothing else."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from primaldual.errors import UnsupportedError
from primaldual.experiments.comparison import Comparison
from primaldual.experiments.figures import accuracy_figure, cost_figure, curve_figure, difference_figure
from primaldual.experiments.head_figures import map_figure, redundancy_figure, regression_figure
from primaldual.experiments.headline import breakable, headline
from primaldual.experiments.mathml import mathml
from primaldual.experiments.statistics import CONFIDENCE
from primaldual.experiments.summary import Summary
from primaldual.reporting.files import write_text
from primaldual.reporting.numbers import bytes_text, count_text, percent, seconds_text, signed
from primaldual.reporting.palette import looks

if TYPE_CHECKING:
    from jinja2 import Template

REPORT_NAME = "report.html"
_PACKAGES = ("primaldual", "torch", "aeon", "scikit-learn", "accelerate", "numpy", "scipy", "matplotlib")


def write_report(comparison: Comparison, summaries: Sequence[Summary], command: str) -> Path:
    """Write ``report.html`` into the output folder, whole or not at all.

    Args:
        comparison: what was done.
        summaries: what came out, the baseline first.
        command: the command line that makes this report.

    Returns:
        The path of the report.

    Raises:
        ArgumentError: the folder cannot be written.
    """
    target = comparison.store.folder / REPORT_NAME
    write_text(target, render(comparison, summaries, command))
    return target


def render(comparison: Comparison, summaries: Sequence[Summary], command: str) -> str:
    """The report as HTML."""
    settings = comparison.settings
    return template("report.html").render(
        comparison=comparison,
        settings=settings,
        summaries=summaries,
        looks=looks(settings.attentions),
        headline=headline(settings, summaries, len(comparison.test.X)),
        figures=_figures(comparison, summaries),
        equations=[(summary, _equation(summary)) for summary in summaries],
        confidence=round(CONFIDENCE * 100),
        command=command,
        versions=versions(),
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def template(name: str) -> Template:
    """A page of the folder ``templates``, with filters for numbers and names."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("primaldual.experiments"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        amount=count_text,
        breakable=breakable,
        bytes=bytes_text,
        percent=percent,
        seconds=seconds_text,
        signed=signed,
    )
    return environment.get_template(name)


def versions(packages: Sequence[str] = _PACKAGES) -> dict[str, str]:
    """Versions of Python and of the packages that matter for the numbers, where they are installed."""
    found = {"Python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return {**found, "system": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"}


def _figures(comparison: Comparison, summaries: Sequence[Summary]) -> Mapping[str, Any]:
    from markupsafe import Markup

    look = looks(comparison.settings.attentions)
    drawn = {
        "accuracy": accuracy_figure(summaries, look),
        "difference": difference_figure(summaries, look, comparison.settings.baseline),
        "cost": cost_figure(summaries, look),
        "train_loss": curve_figure(summaries, look, "train_loss", "training loss"),
        "validation_loss": curve_figure(summaries, look, "validation_loss", "validation loss"),
        "redundancy": redundancy_figure(summaries, look),
    }
    by_attention = {
        name: {summary.attention: Markup(draw(summary, look[summary.attention])) for summary in summaries}
        for name, draw in (("maps", map_figure), ("regressions", regression_figure))
    }
    return {**{name: Markup(figure) for name, figure in drawn.items()}, **by_attention}


def _equation(summary: Summary) -> Any:
    """MathML where the LaTeX is within its subset, else None: the template then shows the text."""
    from markupsafe import Markup

    if summary.profile is None:
        return None
    try:
        return Markup(mathml(summary.profile.latex))
    except UnsupportedError:
        return None
