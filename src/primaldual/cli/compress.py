"""``primaldual compress``."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from primaldual.cli import options
from primaldual.errors import ArgumentError


def compress(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="Folder of a transformers model, timm:NAME, or a name on the Hugging Face hub.",
        ),
    ],
    data: Annotated[
        str | None,
        typer.Argument(
            metavar="[DATA]",
            help="Text file with a text on each line, or folder of images: inputs to calibrate on. Without: sentences "
            "of our own, or noise.",
            show_default=False,
        ),
    ] = None,
    budget: Annotated[float, typer.Option(help="Share of what the attention of the model costs now.")] = 0.6,
    measure: Annotated[
        str, typer.Option(help="What is counted: operations, time (on this machine) or cache (bytes).")
    ] = "operations",
    lengths: Annotated[
        str | None,
        typer.Option(
            help="Lengths for time and cache, comma-separated, such as 512,2048.", show_default="of the data"
        ),
    ] = None,
    attention: Annotated[
        str, typer.Option(help="Spec of the compressed heads, with ... for their scales.")
    ] = "anchored(...,kept=0.5)",
    cases: Annotated[int, typer.Option(min=1, help="Most texts or images.")] = 16,
    weights: Annotated[
        Path | None, typer.Option(help="File of weights for timm:NAME.", show_default="random")
    ] = None,
    tokenizer: Annotated[
        str | None,
        typer.Option(help="Folder or hub name of the tokenizer of a model of texts.", show_default="MODEL"),
    ] = None,
    out: Annotated[Path, typer.Option(help="Output folder.")] = Path("runs/compress"),
    as_json: options.AsJson = False,
) -> None:
    """Fit every head of a model on fewer pairs, such that its outputs change least within a budget.

    Writes the model (a transformers model as model/, others as model.pt), compression.json and pareto.svg.

    Examples:
    $ primaldual compress models/bert reviews.txt --budget 0.5
    $ primaldual compress models/bert reviews.txt --measure time --lengths 2048
    $ primaldual compress timm:vit_small_patch16_224 photos --weights vit.safetensors
    """
    from primaldual.cli.hub import check_on_hub
    from primaldual.cli.screen import Screen

    notes = Screen(stderr=True)
    with notes.status("Looking for the model"):
        check_on_hub(model)  # before anything that takes long to import

    from primaldual.cli.progress import RunProgress
    from primaldual.compression.compress import compress as compressed
    from primaldual.compression.writing import NUMBERS_NAME, numbers_of, write_compression
    from primaldual.experiments.inspection import open_subject
    from primaldual.reporting.files import check_folder

    tried = whole_numbers(lengths)
    check_folder(out, "an earlier compression", NUMBERS_NAME)
    with notes.status("Loading"):
        subject = open_subject(model, data, cases, weights, None, tokenizer)
    with RunProgress(notes, "Compressing") as progress:
        found = compressed(
            subject.model, list(subject.batches), budget, measure=measure, lengths=tried, attention=attention,
            progress=lambda task, done, total: progress(done, total),
        )  # fmt: skip
    facts = {
        "command": shlex.join(["primaldual", *sys.argv[1:]]),
        "model": subject.name,
        "data": subject.data,
    }
    written = write_compression(found, subject.model, out, facts)
    print(json.dumps({**facts, **numbers_of(found)}, indent=2) if as_json else found)
    notes.print("\n".join(f"Written: {path}" for path in written), soft_wrap=True)


def whole_numbers(given: str | None) -> list[int] | None:
    """Lengths out of a comma-separated option; None stays None.

    Raises:
        ArgumentError: something else than whole numbers.

    Example:
        >>> whole_numbers("512, 2048")
        [512, 2048]
    """
    if given is None:
        return None
    try:
        return [int(word) for word in given.split(",")]
    except ValueError:
        raise ArgumentError(
            f"lengths must be whole numbers with commas between, as 512,2048; got {given!r}"
        ) from None
