"""What the terminal shows of ``train lra``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from primaldual.cli.screen import Screen
from primaldual.cli.step_notes import StepNotes
from primaldual.reporting.numbers import count_text, percent

if TYPE_CHECKING:
    from primaldual.sequences.runs import PreparedRun


class SequenceNotes(StepNotes):
    """What is trained on what, a bar over the steps and a line for every epoch, on standard error."""

    def begin(self, run: PreparedRun) -> None:
        """Say what will be trained on what."""
        parts, config = run.parts, run.config
        held_out = 0 if parts.validation is None else len(parts.validation)
        lengths = parts.training.lengths
        self.tell(
            f"{config['data']}: {len(parts.training)} cases of {len(config['classes'])} classes to train on, {held_out} "
            f"to choose the epoch by, {len(parts.test)} to test; {lengths.mean():.0f} tokens on average, at most "
            f"{lengths.max()}"
        )
        for note in parts.notes:
            self.tell(f"Note: {note}.")
        self.tell_left_out(parts.left_out)
        self.tell(
            f"Configuration {config['model']} with {config['attention']}: {config['num_layers']} blocks of width "
            f"{config['embed_dim']}, {config['num_heads']} heads, {config['steps']} steps of {config['batch_size']} cases, "
            f"in {run.folder.path}"
        )


def told(numbers: Mapping[str, Any], page: Path) -> None:
    """The results in a table and the place of the report."""
    screen, test, training = Screen(), numbers["test"], numbers["training"]
    table = Table(title=f"{test['cases']} test cases", show_header=False)
    rows = {
        "accuracy": f"{percent(test['accuracy'])} %",
        "share of the most frequent class": f"{percent(numbers['most_frequent_class'])} %",
        "calibration error": f"{percent(test['calibration_error'])} %",
        "cases per second, training": count_text(training["cases_per_second"]),
        "cases per second, testing": count_text(test["throughput"]),
        "share of loading in training": f"{percent(training['loading_share'])} %",
    }
    for name, value in rows.items():
        table.add_row(name, value)
    screen.print(table)
    screen.print(f"Report: {page}", soft_wrap=True)
