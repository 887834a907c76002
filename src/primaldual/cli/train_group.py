"""``primaldual train``: a file of series by default, and further kinds of data by their word."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from primaldual.cli.own_parts import importing
from primaldual.cli.train import train
from primaldual.cli.train_images import images
from primaldual.cli.train_sequences import lra
from primaldual.cli.train_text import text

SERIES = "series"


class SeriesByDefault(TyperGroup):
    """A group whose command for series needs no word: ``train FILE`` is ``train series FILE``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the word in where no other one stands first."""
        known = bool(args) and args[0] in self.commands
        return super().parse_args(ctx, args if known else [SERIES, *args])


train_group = typer.Typer(
    cls=SeriesByDefault,
    help="Train one model: a classifier of series, of images or of long sequences, or a decoder of text.",
)
train_group.command(SERIES)(importing(train))
train_group.command("images")(importing(images))
train_group.command("lra")(importing(lra))
train_group.command("text")(importing(text))
