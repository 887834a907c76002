"""An inspection as one HTML file that needs nothing else, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from primaldual.experiments.inspection.figures import (
    bar_figure,
    distance_figure,
    importance_figure,
    likeness_figure,
    map_figure,
)
from primaldual.experiments.inspection.findings import findings
from primaldual.experiments.inspection.measuring import Inspection, as_json, nearest
from primaldual.experiments.mathml import mathml
from primaldual.experiments.report import REPORT_NAME, template, versions
from primaldual.reporting.files import write_text

NUMBERS_NAME = "head_report.json"

FORMULAS: Mapping[str, str] = {
    "distance": r"\text{mean over cases of } \sqrt{\sum_{i,j} \left( A^g_{ij} - A^h_{ij} \right)^2}",
    "entropy": r"\text{mean over queries } i \text{ of } \frac{- \sum_j A_{ij} \log \, A_{ij}}{\log \, n_i}",
    "likeness": r"\mathrm{CKA}(Y, Z) = \frac{\| Y^\top Z \|^2}{\| Y^\top Y \| \, \| Z^\top Z \|}",
    "importance": r"\frac{\| f_{h = 0}(x) - f(x) \|}{\| f(x) \|}",
}
"""What is measured, in LaTeX."""


def write_inspection(inspection: Inspection, folder: Path, command: str) -> tuple[Path, Path]:
    """Write ``report.html`` and ``head_report.json`` into a folder, each whole or not at all.

    Args:
        inspection: what was found.
        folder: made if it is not there.
        command: the command line that makes this report.

    Returns:
        The paths of page and numbers.

    Raises:
        ArgumentError: the folder cannot be written.
    """
    page, numbers = folder / REPORT_NAME, folder / NUMBERS_NAME
    html = render_inspection(inspection, command)
    write_text(numbers, json.dumps(numbers_of(inspection, command), indent=2) + "\n")
    write_text(page, html)
    return page, numbers


def numbers_of(inspection: Inspection, command: str) -> dict[str, Any]:
    """All numbers, the command and the versions, as JSON takes them."""
    return {
        **as_json(inspection),
        "findings": findings(inspection),
        "command": command,
        "versions": _versions(),
    }


def render_inspection(inspection: Inspection, command: str) -> str:
    """The page as HTML."""
    from markupsafe import Markup

    subject = inspection.subject
    layers = [
        {
            "number": number,
            "found": layer,
            "nearest": max((value for _, value in nearest(layer.likeness)), default=None),
            "drawings": [Markup(figure(layer)) for figure in (distance_figure, likeness_figure, bar_figure)],
            "maps": Markup(map_figure(layer.path, inspection.maps[layer.path]))
            if layer.path in inspection.maps
            else "",
        }
        for number, layer in inspection.layers
    ]
    return template("inspection.html").render(
        inspection=inspection,
        subject=subject,
        title="/".join(Path(subject.name).parts[-2:]),
        layers=layers,
        findings=findings(inspection),
        importance=Markup(importance_figure(inspection)),
        formulas={name: Markup(mathml(latex)) for name, latex in FORMULAS.items()},
        parameters=sum(parameter.numel() for parameter in subject.model.parameters()),
        kind=type(subject.model).__name__,
        command=command,
        versions=_versions(),
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def _versions() -> dict[str, str]:
    return versions(("primaldual", "torch", "transformers", "timm", "scipy", "matplotlib"))
