"""Options of every command that trains on the engine: where and how, which changes no result but by rounding."""

from __future__ import annotations

from typing import Annotated

import typer

COMPUTING = "Computing (changes no result but by rounding)"

Device = Annotated[
    str | None,
    typer.Option(
        help="Such as cpu or cuda:1.", rich_help_panel=COMPUTING, show_default="a GPU where there is one"
    ),
]
Accumulation = Annotated[
    int,
    typer.Option(
        min=1,
        help="Pieces that a process computes one after the other for a step; less memory.",
        rich_help_panel=COMPUTING,
    ),
]
ActivationCheckpointing = Annotated[
    bool,
    typer.Option(
        "--activation-checkpointing",
        help="Compute activations again in the backward pass; less memory.",
        rich_help_panel=COMPUTING,
    ),
]
Compile = Annotated[
    bool,
    typer.Option("--compile", help="Run the model through torch.compile.", rich_help_panel=COMPUTING),
]
CheckpointEvery = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Steps between checkpoints, besides that after every epoch.",
        rich_help_panel=COMPUTING,
        show_default=False,
    ),
]
Tracker = Annotated[
    list[str] | None,
    typer.Option(
        help="Also log to tensorboard, wandb, mlflow or another tracker of Accelerate; repeatable.",
        rich_help_panel=COMPUTING,
        show_default=False,
    ),
]
