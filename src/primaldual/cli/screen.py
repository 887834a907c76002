"""Where commands write: text of users appears as it is, on every terminal."""

from __future__ import annotations

import codecs
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.status import Status
from rich.text import Text

_HANDLER = "primaldual.cli"
_PLAIN = {
    "−": "-", "–": "-", "…": "...", "·": ".", "✓": "*", "×": "x", "≥": ">=", "≤": "<=", "β": "beta", "ε": "epsilon",
    "µ": "u", "κ": "kappa", "φ": "phi", "Φ": "Phi", "Σ": "sum", "‖": "||", "✗": "x", "•": "*",
}  # fmt: skip
"""What terminals that lack a character show instead."""

_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that control a terminal, or the direction of the text after them; tabs and ends of lines do no harm."""


class Screen(Console):
    """A console without markup: brackets, colons and control characters of users are shown, not obeyed.

    Args:
        stderr: write to standard error.
        options: of rich's ``Console``.
    """

    def __init__(self, stderr: bool = False, **options: Any) -> None:
        super().__init__(stderr=stderr, markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Text of strings that are printed, in tables too."""
        return super().render_str(visible(text), **{**options, "markup": False, "emoji": False})

    def status(self, status: Any, **options: Any) -> Status:
        """A spinner with words."""
        return super().status(words(status) if isinstance(status, str) else status, **options)


def words(*parts: str | tuple[str, str]) -> Text:
    """Text out of strings and pairs of a string and its style.

    Example:
        >>> words(("[red]", "bold"), " is a name").plain
        '[red] is a name'
    """
    found = Text()
    for part in parts:
        text, style = (part, "") if isinstance(part, str) else part
        found.append(visible(text), style)
    return found


def visible(text: str) -> str:
    r"""Text with control characters, which would move the cursor or colour the screen, written out.

    Example:
        >>> print(visible("a\x1b[31m\r"))
        a\x1b[31m\r
    """
    return _CONTROLS.sub(lambda match: match.group().encode("unicode_escape").decode(), text)


@contextmanager
def any_encoding() -> Iterator[None]:
    """Let standard output and standard error write characters that their encoding lacks in another way."""
    codecs.register_error(_HANDLER, _in_other_characters)
    streams = [stream for stream in (sys.stdout, sys.stderr) if hasattr(stream, "reconfigure")]
    former = [stream.errors for stream in streams]
    for stream in streams:
        stream.reconfigure(errors=_HANDLER)
    try:
        yield
    finally:
        for stream, errors in zip(streams, former, strict=True):
            if not stream.closed:
                stream.reconfigure(errors=errors)


def _in_other_characters(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(map(_in_ascii, lacking)), error.end


def _in_ascii(character: str) -> str:
    if character not in _PLAIN and "\u2500" <= character <= "\u28ff":  # lines, bars and spinners
        return "-"
    return _PLAIN.get(character, character.encode("ascii", "backslashreplace").decode())
