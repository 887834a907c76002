"""Options that several commands share, and what becomes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

_MODEL = "Model and training (default: as AttentionClassifier)"

Data = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="Name of a data set of aeon's archive, or a path to a .ts, .npz or long .csv file.",
    ),
]
DataDir = Annotated[
    Path | None,
    typer.Option(help="Folder with <name>/<name>_TRAIN.ts; downloads go there.", show_default=False),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output instead of a table.")]
Split = Annotated[
    str | None,
    typer.Option(help="train, test or all. Default: test for a name, all for a file.", show_default=False),
]
Epochs = Annotated[
    int | None,
    typer.Option(help="Most passes over the training part.", rich_help_panel=_MODEL, show_default=False),
]
Heads = Annotated[
    int | None, typer.Option(help="Attention heads.", rich_help_panel=_MODEL, show_default=False)
]
Layers = Annotated[
    int | None, typer.Option(help="Transformer blocks.", rich_help_panel=_MODEL, show_default=False)
]
EmbedDim = Annotated[
    int | None,
    typer.Option(help="Width; a multiple of the heads.", rich_help_panel=_MODEL, show_default=False),
]
FeedforwardDim = Annotated[
    int | None, typer.Option(help="Width inside the blocks.", rich_help_panel=_MODEL, show_default=False)
]
Dropout = Annotated[
    float | None, typer.Option(help="Dropout, 0 to below 1.", rich_help_panel=_MODEL, show_default=False)
]
BatchSize = Annotated[
    int | None, typer.Option(help="Series per step.", rich_help_panel=_MODEL, show_default=False)
]
LearningRate = Annotated[
    float | None, typer.Option(help="Highest learning rate.", rich_help_panel=_MODEL, show_default=False)
]
Patience = Annotated[
    int | None,
    typer.Option(
        help="Epochs without a better validation before stopping.", rich_help_panel=_MODEL, show_default=False
    ),
]


def classifier_options(**given: Any) -> dict[str, Any]:
    """Arguments of the classifier that were given on the command line.

    Example:
        >>> classifier_options(epochs=3, heads=None, layers=1)
        {'epochs': 3, 'num_layers': 1}
    """
    names = {"heads": "num_heads", "layers": "num_layers"}
    return {names.get(name, name): value for name, value in given.items() if value is not None}


def canonical_specs(given: list[str]) -> tuple[str, ...]:
    """Specs out of repeated, comma-separated options; commas inside parentheses belong to a spec.

    Raises:
        SpecError: a spec that cannot be read.

    Example:
        >>> canonical_specs(["softmax,sh(1, 2)", "bn"])
        ('softmax', 'sh(1,2)', 'bn')
    """
    from primaldual.primal.presets import preset, split_parts

    return tuple(
        preset(spec.strip()).spec() for text in given for spec in split_parts(text, ",") if spec.strip()
    )
