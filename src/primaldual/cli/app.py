"""The commands and their common front."""

from __future__ import annotations

from typing import Annotated

import typer

from primaldual import __version__
from primaldual.cli.certify import certify
from primaldual.cli.compare import compare
from primaldual.cli.compress import compress
from primaldual.cli.describe import equation, presets
from primaldual.cli.doctor import doctor
from primaldual.cli.evaluate import evaluate
from primaldual.cli.explain import explain
from primaldual.cli.generate import generate
from primaldual.cli.grid import grid
from primaldual.cli.inspect import inspect
from primaldual.cli.own_parts import importing
from primaldual.cli.predict import predict
from primaldual.cli.reproduce import reproduce
from primaldual.cli.results import results
from primaldual.cli.train_group import train_group

app = typer.Typer(
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"primaldual {__version__}")
        raise typer.Exit


@app.callback()
def front(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """State a primal, get an attention; compare attentions on real time series, look into the heads of any model.

    Examples:
    $ primaldual compare JapaneseVowels
    $ primaldual compare my_series.csv -a "softmax,bn+sh(1,1,2,4)" --seeds 5
    $ primaldual grid small.toml
    $ primaldual inspect models/bert reviews.txt
    $ primaldual equation "bn(beta=0.8)+sh"
    """
    del version


READING_SPECS = (
    compare,
    grid,
    reproduce,
    predict,
    evaluate,
    generate,
    inspect,
    compress,
    certify,
    explain,
    equation,
    presets,
)
"""Commands that read specs or models, in which parts of a user's own may stand."""

app.add_typer(train_group, name="train")
for command in (*READING_SPECS[:2], results, *READING_SPECS[2:]):
    app.command(command.__name__)(importing(command) if command in READING_SPECS else command)
app.command("doctor")(doctor)
