"""Options of ``train text``; those of computing are the ones of ``train images``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_MODEL = "Model (with --base, its sizes stay)"
_TRAINING = "Training"

Text = Annotated[Path, typer.Argument(metavar="FILE", help="Any file; UTF-8 where characters are tokens.")]
Base = Annotated[
    Path | None,
    typer.Option(
        help="Folder of a trained model to train further, with another --attention or fewer --kv-heads.",
        show_default="fresh weights",
    ),
]
Attention = Annotated[
    str | None,
    typer.Option(
        "--attention", "-a", help="Attention spec that decodes step by step.", show_default="softmax"
    ),
]
Cache = Annotated[
    float | None,
    typer.Option(
        help="With --base: scaled heads whose cache takes this share of the bytes, scales chosen by the text.",
        show_default=False,
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(help="Folder of the run.", show_default="runs/text/<file>-<attention>-seed<seed>"),
]
Tokens = Annotated[
    str | None, typer.Option(help="bytes or characters.", rich_help_panel=_MODEL, show_default="bytes")
]
Context = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Most tokens that the model sees.",
        rich_help_panel=_MODEL,
        show_default="256",
    ),
]
EmbedDim = Annotated[
    int | None,
    typer.Option(min=1, help="Width.", rich_help_panel=_MODEL, show_default="128"),
]
Heads = Annotated[
    int | None,
    typer.Option(min=1, help="Query heads.", rich_help_panel=_MODEL, show_default="4"),
]
KvHeads = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Heads of keys and values, which groups of query heads share.",
        rich_help_panel=_MODEL,
        show_default="as many as query heads",
    ),
]
Layers = Annotated[
    int | None,
    typer.Option(min=1, help="Blocks.", rich_help_panel=_MODEL, show_default="3"),
]
Dropout = Annotated[
    float | None,
    typer.Option(help="Dropout.", rich_help_panel=_MODEL, show_default="0.1"),
]
Epochs = Annotated[int, typer.Option(min=1, help="Passes over the text.", rich_help_panel=_TRAINING)]
Steps = Annotated[
    int | None,
    typer.Option(
        min=1, help="Steps of all, in place of epochs.", rich_help_panel=_TRAINING, show_default=False
    ),
]
BatchSize = Annotated[
    int,
    typer.Option(
        min=1, help="Windows of --context tokens per step, over all processes.", rich_help_panel=_TRAINING
    ),
]
LearningRate = Annotated[
    float, typer.Option(help="The highest; it falls by a cosine.", rich_help_panel=_TRAINING)
]
Validation = Annotated[
    float,
    typer.Option(
        help="Share of the text, behind the training part, to choose the best epoch by; 0 = the last epoch.",
        rich_help_panel=_TRAINING,
    ),
]
Test = Annotated[
    float,
    typer.Option(help="Share of the text, at its end, to test on once.", rich_help_panel=_TRAINING),
]
MixedPrecision = Annotated[str, typer.Option(help="no or bf16.", rich_help_panel=_TRAINING)]
