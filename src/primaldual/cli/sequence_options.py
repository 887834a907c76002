"""Options of ``train lra``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_DATA = "Data"
_CONFIG = "Configuration"

Task = Annotated[str, typer.Option(help="listops, pathfinder, pixels, text or retrieval.")]
Attention = Annotated[str, typer.Option("--attention", "-a", help="Attention spec.")]
ConfigName = Annotated[
    str,
    typer.Option(
        "--config",
        help="pytorch (2 blocks of width 64, 2 heads) or jax (4 blocks of width 512, 8 heads).",
        rich_help_panel=_CONFIG,
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        help="Folder of the run.", show_default="runs/lra/<task or data>-<config>-<attention>-seed<seed>"
    ),
]
Data = Annotated[
    Path | None,
    typer.Option(
        help="pixels: a folder or tar file of images, such as train/<class>/*.jpg beside test; text: a folder of .txt "
        "files laid out like that, or a table; retrieval: a table. Tables are .csv or .tsv, one, or a folder with train "
        "and test.",
        rich_help_panel=_DATA,
        show_default=False,
    ),
]
DataDir = Annotated[
    Path | None,
    typer.Option(
        help="Where data sets of tokens are kept once they are made.",
        rich_help_panel=_DATA,
        show_default="data/sequences",
    ),
]
MaxLength = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Longest sequence in tokens; of listops it also decides how long trees are.",
        rich_help_panel=_DATA,
        show_default="2000 listops, 1024 pathfinder and pixels, 4000 text and retrieval",
    ),
]
Truncate = Annotated[
    bool,
    typer.Option("--truncate", help="Cut longer texts, which are refused otherwise.", rich_help_panel=_DATA),
]
Difficulty = Annotated[
    str | None,
    typer.Option(
        help="Of pathfinder: easy, intermediate or hard.", rich_help_panel=_DATA, show_default="hard"
    ),
]
Cases = Annotated[
    int | None,
    typer.Option(
        min=2,
        help="Training cases that are generated; validation and test have an eighth of them, but not more than usual.",
        rich_help_panel=_DATA,
        show_default="96,000 listops, 160,000 pathfinder",
    ),
]
Columns = Annotated[
    str | None,
    typer.Option(
        help="Columns of a table, with commas: of the text and the label, or of both texts and the label.",
        rich_help_panel=_DATA,
        show_default="text1,text2,label for retrieval",
    ),
]
SkipBad = Annotated[
    bool,
    typer.Option(
        "--skip-bad",
        help="Leave out files that cannot be read; they are counted and named.",
        rich_help_panel=_DATA,
    ),
]
Heads = Annotated[
    int | None,
    typer.Option(
        min=1, help="Heads of each block.", rich_help_panel=_CONFIG, show_default="as in the configuration"
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Cases per step, over all processes.",
        rich_help_panel=_CONFIG,
        show_default="as in the configuration",
    ),
]
Steps = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Steps of the optimizer; the warm-up keeps its share.",
        rich_help_panel=_CONFIG,
        show_default="as in the configuration",
    ),
]
MixedPrecision = Annotated[
    str | None,
    typer.Option(help="no or bf16.", rich_help_panel=_CONFIG, show_default="no"),
]
Validation = Annotated[
    float,
    typer.Option(
        help="Share of the training part to choose the best epoch by, where the data has no part for it; 0 = last epoch.",
        rich_help_panel=_CONFIG,
    ),
]
Seed = Annotated[int, typer.Option(min=0, help="Seed of everything random but generated data.")]
DataSeed = Annotated[int, typer.Option(min=0, help="Seed of generated data.", rich_help_panel=_DATA)]
Processes = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Processes that generate data.",
        rich_help_panel=_DATA,
        show_default="one for each core",
    ),
]
