"""Options of ``train images``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from primaldual.cli.computing_options import COMPUTING

_RECIPE = "Recipe (default: by the size of the images)"

Data = Annotated[
    str,
    typer.Option(
        help="digits, cifar10, fashion-mnist, or a folder with a folder for each class: train beside val or test, or "
        "class folders alone."
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        help="vit_micro, vit_tiny, deit_tiny, or any model of timm that has timm's Attention.",
        show_default="vit_micro up to 64 pixels, else deit_tiny",
    ),
]
Attention = Annotated[
    str, typer.Option("--attention", "-a", help="Attention spec; scaled heads lie on the grid of patches.")
]
RecipeName = Annotated[
    str | None,
    typer.Option(
        "--recipe", help="deit, deit-small or deit-digits.", rich_help_panel=_RECIPE, show_default=False
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(help="Folder of the run.", show_default="runs/images/<data>-<model>-<attention>-seed<seed>"),
]
DataDir = Annotated[
    Path | None,
    typer.Option(
        help="Where cifar10 and fashion-mnist lie, or are downloaded to.", show_default="data/images"
    ),
]
ImageSize = Annotated[
    int | None,
    typer.Option(help="Pixels a side.", show_default="that of the first image up to 64, else 224"),
]
Epochs = Annotated[
    int | None,
    typer.Option(min=1, help="Passes over the training part.", rich_help_panel=_RECIPE, show_default=False),
]
BatchSize = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Images per step, over all processes; the learning rate follows.",
        rich_help_panel=_RECIPE,
        show_default=False,
    ),
]
Steps = Annotated[
    int | None,
    typer.Option(
        min=1, help="Most steps of all epochs together.", rich_help_panel=_RECIPE, show_default=False
    ),
]
Validation = Annotated[
    float,
    typer.Option(
        help="Share of the training images to choose the best epoch by, where the data has no part for it; 0 = last epoch.",
        rich_help_panel=_RECIPE,
    ),
]
SkipBad = Annotated[
    bool, typer.Option("--skip-bad", help="Leave out images that cannot be read; they are counted and named.")
]
Corruptions = Annotated[
    bool, typer.Option(help="Also test with noise, blur, less contrast and JPEG, made on the fly.")
]
MixedPrecision = Annotated[
    str | None,
    typer.Option(help="no or bf16.", rich_help_panel=_RECIPE, show_default=False),
]
Workers = Annotated[
    int,
    typer.Option(min=0, help="Processes that load images; 0 = those that train.", rich_help_panel=COMPUTING),
]
