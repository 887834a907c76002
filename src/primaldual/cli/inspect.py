"""``primaldual inspect``."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from primaldual.cli import options
from primaldual.errors import ArgumentError


def inspect(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="Folder of a transformers model, or that train or compare wrote; timm:NAME; or a name on the "
            "Hugging Face hub.",
        ),
    ],
    data: Annotated[
        str | None,
        typer.Argument(
            metavar="[DATA]",
            help="Text file with a text on each line, or folder of images, or data set or file of series, as the "
            "model takes it. Without: sentences of our own, or noise.",
            show_default=False,
        ),
    ] = None,
    layers: Annotated[
        str | None,
        typer.Option(
            help='Numbers or patterns, comma-separated, such as 0,-1 or "encoder.*".', show_default="all"
        ),
    ] = None,
    cases: Annotated[int, typer.Option(min=1, help="Most texts, images or series.")] = 16,
    no_ablate: Annotated[
        bool, typer.Option("--no-ablate", help="Leave out importance, which takes a run for every head.")
    ] = False,
    weights: Annotated[
        Path | None, typer.Option(help="File of weights for timm:NAME.", show_default="random")
    ] = None,
    tokenizer: Annotated[
        str | None,
        typer.Option(help="Folder or hub name of the tokenizer of a model of texts.", show_default="MODEL"),
    ] = None,
    out: Annotated[Path, typer.Option(help="Output folder.")] = Path("runs/inspect"),
    data_dir: options.DataDir = None,
    as_json: options.AsJson = False,
    case: options.CaseColumn = None,
    time: options.TimeColumn = None,
    label: options.LabelColumn = None,
    channels: options.Channels = None,
) -> None:
    """Look at the heads of a model: how alike they are, how widely they attend, how much each matters.

    Layers and heads are counted from 0. Writes report.html and head_report.json.

    Examples:
    $ primaldual inspect sentence-transformers/all-MiniLM-L6-v2
    $ primaldual inspect models/bert reviews.txt --cases 64 --layers 0,1,-1
    $ primaldual inspect models/own reviews.txt --tokenizer bert-base-uncased
    $ primaldual inspect timm:vit_small_patch16_224 photos --weights vit.safetensors
    $ primaldual inspect models/vowels JapaneseVowels --no-ablate --json
    $ primaldual inspect models/mine visits.csv --case patient --time day
    """
    from primaldual.cli.hub import check_on_hub
    from primaldual.cli.screen import Screen

    notes = Screen(stderr=True)
    with notes.status("Looking for the model"):
        check_on_hub(model)  # before anything that takes long to import

    from primaldual.cli.inspect_view import inspection_lines
    from primaldual.cli.progress import RunProgress
    from primaldual.experiments.inspection import inspect_heads, open_subject
    from primaldual.experiments.inspection.page import NUMBERS_NAME, numbers_of, write_inspection
    from primaldual.reporting.files import check_folder

    chosen = layer_list(layers)
    reading = options.reading(data, case, time, label, channels, labelled=False)
    check_folder(out, "an earlier inspection", NUMBERS_NAME)
    command = shlex.join(["primaldual", *sys.argv[1:]])
    with notes.status("Loading"):
        subject = open_subject(model, data, cases, weights, data_dir, tokenizer, reading)
    with RunProgress(notes, "Looking at the heads") as progress:
        found = inspect_heads(subject, chosen, not no_ablate, progress)
    with notes.status("Drawing"):
        page, numbers = write_inspection(found, out, command)
    if as_json:
        print(json.dumps({**numbers_of(found, command), "report": str(page)}, indent=2))
    else:
        screen = Screen()
        for line, style in inspection_lines(found, screen.width):
            screen.print(line, style=style, soft_wrap=True)
    notes.print(f"Numbers: {numbers}\nReport: {page}", soft_wrap=True)


def layer_list(given: str | None) -> list[int | str] | None:
    """Layers out of a comma-separated option; None stays None, which means all.

    Raises:
        ArgumentError: nothing between the commas.

    Example:
        >>> layer_list("0, -1,encoder.*")
        [0, -1, 'encoder.*']
    """
    if given is None:
        return None
    words = [word.strip() for word in given.split(",") if word.strip()]
    if not words:
        raise ArgumentError(f"layers must be numbers or patterns, comma-separated; got {given!r}")
    return [int(word) if word.lstrip("-").isdecimal() else word for word in words]
