"""Names of arguments in error messages as the flags of a command."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

OTHER_NAMES = {"num_heads": "heads", "num_layers": "layers", "C": "penalty", "random_state": "seed"}
"""Arguments of the library that a command calls otherwise."""


def flags_of(command: Any) -> dict[str, str]:
    """The longest flag of every option of a click command, by the name of the argument."""
    found = {
        option.name: max(option.opts, key=len) for option in command.params if option.opts[0].startswith("-")
    }
    found |= {other: found[name] for other, name in OTHER_NAMES.items() if name in found}
    return {**found, **{name.replace("_", "-"): flag for name, flag in found.items()}}


def with_flags(message: str, flags: Mapping[str, str]) -> str:
    """The message with flags for arguments.

    Names of several words, joined by underscores or dashes, are replaced wherever they stand, and so are names before an
    equals sign between spaces. Other single words are replaced only where they begin the message: elsewhere they are words
    of the sentence, and before a colon the name of the data.

    Example:
        >>> with_flags("num_heads must divide embed_dim", {"num_heads": "--heads", "embed_dim": "--embed-dim"})
        '--heads must divide --embed-dim'
        >>> with_flags("epochs must count epochs", {"epochs": "--epochs"})
        '--epochs must count epochs'
        >>> with_flags("none is on disk; give data-dir, or tokens = bytes", {"data-dir": "--data-dir", "tokens": "--tokens"})
        'none is on disk; give --data-dir, or --tokens bytes'
    """

    def flag(match: re.Match[str]) -> str:
        name, equals = match.group(1), match.group(2)
        if name not in flags:
            return match.group()
        if equals:
            return f"{flags[name]} "
        anywhere = match.start() == 0 or "_" in name or "-" in name
        return flags[name] if anywhere else name

    return re.sub(r"(?<![\w\-/.'\"])([A-Za-z][\w\-]*)(?:( = )(?=\w)|(?![\w/.'\"(:]))", flag, message)
