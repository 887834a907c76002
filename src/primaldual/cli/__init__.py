"""The command line: ``primaldual compare``, ``train``, ``predict``, ``evaluate`` and more."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn

from primaldual.errors import PrimalDualError

__all__ = ["main"]

INTERRUPTED = 130
REFUSED = 2


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; bad input ends with one line on stderr and exit code 2.

    Args:
        arguments: the words after the program's name; those of the process by default.
    """
    from primaldual.cli.app import app

    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = app(args=words or ["--help"], prog_name="primaldual", standalone_mode=False)
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
