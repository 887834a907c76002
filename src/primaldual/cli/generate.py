"""``primaldual generate``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from primaldual.cli import computing_options, options


def generate(
    folder: Annotated[Path, typer.Argument(help="Folder of primaldual train text.")],
    prompt: Annotated[str, typer.Option(help="What the text begins with.", show_default=False)],
    length: Annotated[int, typer.Option(min=0, help="Tokens to draw.")] = 500,
    temperature: Annotated[
        float, typer.Option(help="Above 1 more varied, below 1 less; 0 takes the likeliest token.")
    ] = 0.8,
    top_k: Annotated[
        int | None,
        typer.Option(min=1, help="Draw from this many of the likeliest tokens.", show_default="all"),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the draws.")] = 0,
    device: computing_options.Device = None,
    as_json: options.AsJson = False,
) -> None:
    """Continue a text with a model of primaldual train text, token by token.

    Each token is one step of the decoding states. Where the context is full,
    its later half is read again as a new beginning.

    Examples:
    $ primaldual generate runs/text/poems.txt-softmax-seed0 --prompt "Shall I"
    $ primaldual generate runs/poems --prompt "ROMEO:" --top-k 40 --seed 3
    $ primaldual generate runs/poems --prompt "The" --temperature 0 --json
    """
    from primaldual.cli.screen import visible
    from primaldual.language import LanguageModel
    from primaldual.training.accelerators import usable_device

    model = LanguageModel.load(folder)
    if device is not None:
        model.decoder.to(usable_device(device))
    pieces = model.stream(prompt, length, temperature=temperature, top_k=top_k, seed=seed)
    if as_json:
        print(json.dumps({"prompt": prompt, "text": "".join(pieces), "cache_bytes": model.cache_bytes()}))
        return
    shown = visible if sys.stdout.isatty() else str
    print(shown(prompt), end="", flush=True)
    for piece in pieces:
        print(shown(piece), end="", flush=True)
    print()
