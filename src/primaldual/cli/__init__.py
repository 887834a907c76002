"""The command line: ``primaldual compare``, ``train``, ``predict``, ``evaluate`` and more."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

from primaldual.errors import PrimalDualError

if TYPE_CHECKING:
    from typer import Typer

__all__ = ["main", "run"]

INTERRUPTED = 130
REFUSED = 2


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; bad input ends with one line on stderr and exit code 2.

    Args:
        arguments: the words after the program's name; those of the process by default.
    """
    from primaldual.cli.app import app

    run(app, "primaldual", list(sys.argv[1:] if arguments is None else arguments) or ["--help"])


def run(app: Typer, program: str, arguments: Sequence[str]) -> None:
    """Run a typer application; bad input ends with one line on stderr and exit code 2.

    Args:
        app: the commands.
        program: the program's name in its help.
        arguments: the words after that name.
    """
    try:
        code = app(args=list(arguments), prog_name=program, standalone_mode=False)
    except PrimalDualError as error:
        _refuse(str(error))
    except KeyboardInterrupt:
        code = INTERRUPTED
    except Exception as error:
        # Usage errors are click's or typer's own, by version; both know how to say what was wrong.
        if not hasattr(error, "format_message"):
            raise
        _refuse(error.format_message())
    if code == INTERRUPTED:
        print("Stopped.", file=sys.stderr)
    if code:
        sys.exit(code)


def _refuse(message: str) -> NoReturn:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(REFUSED)
