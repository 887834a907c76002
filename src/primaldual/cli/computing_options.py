"""Options of every command that trains on the engine: where and how, which changes no result but by rounding."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any

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

_EXECUTION: dict[str, tuple[object, object]] = {
    "device": (Device, None),
    "accumulation": (Accumulation, 1),
    "activation_checkpointing": (ActivationCheckpointing, False),
    "compile": (Compile, False),
    "checkpoint_every": (CheckpointEvery, None),
}
"""Arguments of :class:`primaldual.training.Execution` as options, with their defaults."""


def computing(command: Callable[..., None]) -> Callable[..., None]:
    """The command with an option for each of these, which it takes together as its keyword ``execution``."""

    @functools.wraps(command)
    def wrapped(**given: Any) -> None:
        command(execution={name: given.pop(name) for name in _EXECUTION}, **given)

    signature = inspect.signature(command, eval_str=True)
    place = list(signature.parameters).index("execution")
    parameters = list(signature.parameters.values())
    parameters[place : place + 1] = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for name, (kind, default) in _EXECUTION.items()
    ]
    vars(wrapped)["__signature__"] = signature.replace(parameters=parameters)
    wrapped.__annotations__ = {one.name: one.annotation for one in parameters}
    return wrapped
