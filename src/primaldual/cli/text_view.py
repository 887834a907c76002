"""What the terminal shows of ``train text``."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from primaldual.cli.screen import Screen
from primaldual.cli.step_notes import StepNotes
from primaldual.reporting.numbers import bytes_text, count_text, seconds_text
from primaldual.training import TrainingState

if TYPE_CHECKING:
    from primaldual.language import PreparedTextRun


class TextNotes(StepNotes):
    """A bar over the steps and a line for every epoch, on standard error."""

    def begin(self, run: PreparedTextRun) -> None:
        """Say what will be trained on what."""
        corpus, config = run.corpus, run.config
        self.tell(
            f"{config['text']}: {len(corpus.training)} {config['tokens']} to train on, {len(corpus.validation)} to choose "
            f"the epoch by, {len(corpus.test)} to test, in this order"
        )
        weights = sum(weight.numel() for weight in run.model.decoder.parameters())
        start = "" if config["base"] is None else f", from {config['base']}"
        self.tell(
            f"{_shown(config['attention'])}, {count_text(weights)} parameters{start}, in {run.folder.path}"
        )

    def on_epoch_end(self, state: TrainingState) -> None:
        """One line."""
        record = state.history[-1]
        loss = record["validation_loss"]
        validation = "" if loss is None else f", validation perplexity {math.exp(min(loss, 700)):.3f}"
        self.tell(
            f"epoch {record['epoch']}/{state.settings.epochs}: loss {record['train_loss']:.3f}{validation}, "
            f"{seconds_text(record['seconds'] or 0)}"
        )


def told(numbers: Mapping[str, Any], folder: Path) -> None:
    """The results in a table and the place of the model."""
    screen = Screen()
    table = Table(title=f"{_shown(numbers['config']['attention'])} on {numbers['config']['text']}")
    for name in ("part", "tokens", "perplexity", "bits per byte"):
        table.add_column(name, justify="left" if name == "part" else "right")
    for part in ("validation", "test"):
        if part in numbers:
            found = numbers[part]
            table.add_row(
                part, str(found["tokens"]), f"{found['perplexity']:.3f}", f"{found['bits_per_byte']:.3f}"
            )
    screen.print(table)
    context = numbers["config"]["context"]
    screen.print(
        f"Cache of a sequence of {context} tokens: {bytes_text(numbers['cache_bytes'])}; "
        f"{count_text(numbers['training']['tokens_per_second'])} tokens per second in training"
    )
    screen.print(f"Model: {folder}", soft_wrap=True)
    screen.print(
        f'Continue a text with it: primaldual generate {shlex.quote(str(folder))} --prompt "..."',
        soft_wrap=True,
    )


def _shown(attention: str | list[str]) -> str:
    return attention if isinstance(attention, str) else "; ".join(attention)
