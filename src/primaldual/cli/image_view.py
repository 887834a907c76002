"""What the terminal shows of ``train images``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from primaldual.cli.screen import Screen
from primaldual.cli.step_notes import StepNotes
from primaldual.reporting.numbers import count_text, percent

if TYPE_CHECKING:
    from primaldual.images.runs import PreparedRun


class ImageNotes(StepNotes):
    """What is trained on what, a bar over the steps and a line for every epoch, on standard error."""

    def begin(self, run: PreparedRun) -> None:
        """Say what will be trained on what."""
        parts, config = run.parts, run.config
        held_out = 0 if parts.validation is None else len(parts.validation)
        self.tell(
            f"{config['data']}: {len(parts.training)} images of {len(config['classes'])} classes to train on, "
            f"{held_out} to choose the epoch by, {len(parts.test)} to test"
        )
        for note in parts.notes:
            self.tell(f"Note: {note}.")
        self.tell_left_out(run.left_out)
        self.tell(
            f"{config['model']} with {config['attention']}, recipe {config['recipe']}, in {run.folder.path}"
        )


def told(numbers: Mapping[str, Any], page: Path) -> None:
    """The results in a table and the place of the report."""
    screen, test, training = Screen(), numbers["test"], numbers["training"]
    table = Table(title=f"{test['images']} test images", show_header=False)
    rows = {
        "top-1 accuracy": f"{percent(test['scores']['top1'])} %",
        "top-5 accuracy": f"{percent(test['scores']['top5'])} %",
        "calibration error": f"{percent(test['scores']['calibration_error'])} %",
        "images per second, training": count_text(training["images_per_second"]),
        "images per second, testing": count_text(test["throughput"]),
        "share of loading in training": f"{percent(training['loading_share'])} %",
    }
    for kind, found in test["corrupted"].items():
        shown = ", ".join(percent(value) for value in found.values())
        rows[f"top-1 under {kind} of severity {', '.join(map(str, found))}"] = f"{shown} %"
    for name, value in rows.items():
        table.add_row(name, value)
    screen.print(table)
    screen.print(f"Report: {page}", soft_wrap=True)
