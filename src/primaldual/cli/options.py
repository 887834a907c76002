"""Options that several commands share, and what becomes of them."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from primaldual.errors import ArgumentError, SpecError

if TYPE_CHECKING:
    from primaldual.data import Reading

MODEL = "Model and training (default: as AttentionClassifier)"
_COLUMNS = "Columns of a .csv file"

Model = Annotated[Path, typer.Argument(metavar="MODEL", help="Folder that train or compare wrote.")]

Data = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="Name of a data set of aeon's archive, or a path to a .ts, .npz or .csv file.",
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
CaseColumn = Annotated[
    str | None,
    typer.Option(
        "--case", help="Column that names the series.", rich_help_panel=_COLUMNS, show_default="case"
    ),
]
TimeColumn = Annotated[
    str | None,
    typer.Option(
        "--time",
        help="Column that orders the rows of a series.",
        rich_help_panel=_COLUMNS,
        show_default="time",
    ),
]
LabelColumn = Annotated[
    str | None,
    typer.Option("--label", help="Column of the class.", rich_help_panel=_COLUMNS, show_default="label"),
]
Channels = Annotated[
    str | None,
    typer.Option(
        "--channels",
        help="Columns of the channels, comma-separated.",
        rich_help_panel=_COLUMNS,
        show_default="all others",
    ),
]
Epochs = Annotated[
    int | None,
    typer.Option(help="Most passes over the training part.", rich_help_panel=MODEL, show_default=False),
]
Heads = Annotated[
    int | None, typer.Option(help="Attention heads.", rich_help_panel=MODEL, show_default=False)
]
Layers = Annotated[
    int | None, typer.Option(help="Transformer blocks.", rich_help_panel=MODEL, show_default=False)
]
EmbedDim = Annotated[
    int | None,
    typer.Option(help="Width; a multiple of the heads.", rich_help_panel=MODEL, show_default=False),
]
FeedforwardDim = Annotated[
    int | None, typer.Option(help="Width inside the blocks.", rich_help_panel=MODEL, show_default=False)
]
Dropout = Annotated[
    float | None, typer.Option(help="Dropout, 0 to below 1.", rich_help_panel=MODEL, show_default=False)
]
BatchSize = Annotated[
    int | None, typer.Option(help="Series per step.", rich_help_panel=MODEL, show_default=False)
]
LearningRate = Annotated[
    float | None, typer.Option(help="Highest learning rate.", rich_help_panel=MODEL, show_default=False)
]
Patience = Annotated[
    int | None,
    typer.Option(
        help="Epochs without a better validation before stopping.", rich_help_panel=MODEL, show_default=False
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


def reading(
    data: str | None,
    case: str | None,
    time: str | None,
    label: str | None,
    channels: str | None,
    labelled: bool = True,
) -> Reading:
    """How a file is read, from the options for its columns.

    Args:
        data: name or file that the columns are of; None = none was given.
        case: column of --case.
        time: column of --time.
        label: column of --label.
        channels: columns of --channels.
        labelled: whether labels are read.

    Raises:
        ArgumentError: columns of something else than a .csv file, or no channel.
    """
    from primaldual.data import Reading

    given = {"--case": case, "--time": time, "--label": label, "--channels": channels}
    flags = [flag for flag, value in given.items() if value is not None]
    if flags and not (data or "").lower().endswith(".csv"):
        told = "no file was given" if data is None else f"{data} is not one"
        raise ArgumentError(f"{', '.join(flags)}: only a .csv file has columns to name; {told}")
    names = None
    if channels is not None:
        names = tuple(name.strip() for row in csv.reader([channels]) for name in row if name.strip())
        if not names:
            raise ArgumentError(f"--channels must name columns, comma-separated; got {channels!r}")
    return Reading(case, time, label, names, labelled)


def one_spec(given: str) -> str:
    """A spec in its canonical form.

    Raises:
        SpecError: it cannot be read, or there are several.
    """
    found = canonical_specs([given])
    if len(found) != 1:
        raise SpecError(f"attention must be one spec; got {given!r}")
    return found[0]


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
