"""The report of a run that trained one classifier: one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from primaldual.experiments.report import REPORT_NAME, template, versions
from primaldual.reporting.drawing import legend_below, svg
from primaldual.reporting.files import write_text
from primaldual.reporting.palette import looks
from primaldual.training import Record

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def run_page(
    name: str,
    title: str,
    numbers: Mapping[str, Any],
    packages: Sequence[str],
    validated: bool,
    hidden: Sequence[str],
    **facts: Any,
) -> str:
    """The report as HTML.

    Args:
        name: of the template, which extends ``run.html``.
        title: of the page.
        numbers: of the run: its config, history, training and test.
        packages: whose versions matter.
        validated: whether a validation part chose the epoch.
        hidden: settings that are too long for the table.
        facts: what the template needs besides.
    """
    from markupsafe import Markup

    return template(name).render(
        numbers=numbers,
        title=title,
        validated=validated,
        curves=Markup(curve_figure(numbers["history"])),
        versions=versions(("primaldual", "torch", *packages, "accelerate", "numpy")),
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        hidden=hidden,
        **facts,
    )


def write_run_page(folder: Path, page: str) -> Path:
    """Write ``report.html`` into the folder of a run, whole or not at all, and return its path.

    Raises:
        ArgumentError: the folder cannot be written.
    """
    target = folder / REPORT_NAME
    write_text(target, page)
    return target


def curve_figure(history: Sequence[Record]) -> str:
    """Losses by epoch."""
    epochs: Any = [record["epoch"] for record in history]
    from matplotlib.ticker import MaxNLocator

    names = {"train_loss": "training", "validation_loss": "validation"}

    def draw(figure: Figure) -> None:
        axes, drawn = figure.add_subplot(), []
        for name, look in looks(list(names)).items():
            values: Any = [record[name] for record in history]
            if None not in values:
                drawn.append(names[name])
                axes.plot(
                    epochs,
                    values,
                    color=look.color,
                    marker=look.marker if len(epochs) < 3 else None,
                    ls=look.dashes,
                    lw=1.6,
                    label=names[name],
                )
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("epoch")
        axes.set_ylabel("loss")
        legend_below(figure, axes, drawn)

    return svg(draw, 5.0, 3.0, "Training and validation loss by epoch")
