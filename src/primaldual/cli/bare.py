"""What the command line does where typer or rich is missing or broken: it says so, and still examines the machine."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from primaldual import __version__

REFUSED = 2


def without_typer(arguments: Sequence[str], error: Exception) -> int:
    """Serve ``doctor`` and ``--version``; for anything else name what is missing.

    Args:
        arguments: the words after the program's name.
        error: what came of importing the commands.

    Returns:
        The exit code.
    """
    if arguments[:1] == ["--version"]:
        print(f"primaldual {__version__}")
        return 0
    if arguments[:1] == ["doctor"]:
        from primaldual.environment.doctor import doctor

        print(doctor(imports="--quick" not in arguments))
        return 0
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    print(
        f"error: the commands need the extra [experiments] ({reason}); primaldual doctor works without it, and names the "
        "command that installs it",
        file=sys.stderr,
    )
    return REFUSED
