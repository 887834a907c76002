"""The command line: ``primaldual compare``, ``train``, ``predict``, ``evaluate`` and more."""

from __future__ import annotations

import sys
from collections.abc import Sequence

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
        app(args=words, prog_name="primaldual")
    except PrimalDualError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(REFUSED)
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        sys.exit(INTERRUPTED)
