"""``--import``: modules whose parts specs may name."""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Annotated, Any

import typer

from primaldual.errors import ArgumentError

Import = Annotated[
    list[str] | None,
    typer.Option(
        "--import",
        metavar="MODULE",
        help="Module that registers parts of your own (primaldual.register), here or installed; repeatable.",
        show_default=False,
    ),
]


def importing(command: Callable[..., None]) -> Callable[..., None]:
    """The command with an option ``--import``, whose modules are imported before anything else is read."""

    @functools.wraps(command)
    def wrapped(*given: Any, own_parts: list[str] | None = None, **options: Any) -> None:
        import_parts(own_parts or ())
        command(*given, **options)

    signature = inspect.signature(command, eval_str=True)
    added = inspect.Parameter("own_parts", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Import)
    parameters = {**signature.parameters, added.name: added}
    vars(wrapped)["__signature__"] = signature.replace(parameters=list(parameters.values()))
    wrapped.__annotations__ = {name: one.annotation for name, one in parameters.items()}
    return wrapped


def import_parts(modules: list[str] | tuple[str, ...]) -> None:
    """Import modules, looking in the working folder as ``python -m`` does.

    Raises:
        ArgumentError: a file in place of a module, or a module that cannot be imported.
    """
    if modules and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    for module in modules:
        if module.endswith(".py") or os.sep in module:
            raise ArgumentError(f"--import takes the name of a module, such as my_parts; got {module!r}")
        try:
            import_module(module)
        except Exception as error:
            raise ArgumentError(f"--import {module} failed: {type(error).__name__}: {error}") from error
