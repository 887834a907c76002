"""The command line: ``primaldual compare``, ``train``, ``predict``, ``evaluate`` and more."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from typer import Typer

__all__ = ["main", "run"]

INTERRUPTED = 130
REFUSED = 2
LONGEST = 1000
"""Characters of an error message, which may repeat what was given."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; bad input ends with one line on stderr and exit code 2.

    Args:
        arguments: the words after the program's name; those of the process by default.
    """
    words = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    try:
        app = import_module("primaldual.cli.app").app
        import_module("primaldual.cli.screen")
    except Exception as error:  # typer or rich is missing or half installed
        from primaldual.cli.bare import without_typer

        sys.exit(without_typer(words, error))
    run(app, "primaldual", words)


def run(app: Typer, program: str, arguments: Sequence[str]) -> None:
    """Run a typer application; bad input ends with one line on stderr and exit code 2.

    So do a full disk and too little memory. Text is written whatever the terminal's encoding lacks.

    Args:
        app: the commands.
        program: the program's name in its help.
        arguments: the words after that name.
    """
    from primaldual.cli.mishaps import in_one_line
    from primaldual.cli.screen import any_encoding

    with any_encoding():
        try:
            code = app(args=list(arguments), prog_name=program, standalone_mode=False)
        except KeyboardInterrupt:
            code = INTERRUPTED
        except Exception as error:
            # Usage errors are click's or typer's own, by version; both know how to say what was wrong.
            message = error.format_message() if hasattr(error, "format_message") else in_one_line(error)
            if message is None:
                raise
            _refuse(app, arguments, message)
        if code == INTERRUPTED:
            print("Stopped.", file=sys.stderr)
        if code:
            sys.exit(code)


def _named(command: Any, arguments: Sequence[str]) -> Any:
    """The command that the arguments name; a group without a further word stands for its first command."""
    commands = getattr(command, "commands", {})
    if not commands:
        return command
    place = next((number for number, word in enumerate(arguments) if word in commands), None)
    if place is not None:
        return _named(commands[arguments[place]], arguments[place + 1 :])
    return next(iter(commands.values())) if "series" in commands else command


def _refuse(app: Typer, arguments: Sequence[str], message: str) -> NoReturn:
    from typer.main import get_command

    from primaldual.cli.flags import flags_of, with_flags
    from primaldual.cli.screen import visible

    named = _named(get_command(app), arguments)
    text = visible(with_flags(" ".join(message.split()), flags_of(named)))
    print(f"error: {text if len(text) <= LONGEST else text[:LONGEST] + '…'}", file=sys.stderr)
    sys.exit(REFUSED)
