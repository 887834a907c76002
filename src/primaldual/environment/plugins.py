"""The words of specs that other packages add, and whether they load."""

from __future__ import annotations

from dataclasses import dataclass

from primaldual.environment.packages import quiet


@dataclass(frozen=True)
class Plugin:
    """A word that a package adds.

    Attributes:
        word: as in specs.
        package: distributions that offer it, with their versions.
        reason: why it cannot be used, in one line; "" = it can, or was not tried.
    """

    word: str
    package: str
    reason: str = ""


def plugins(load: bool = True) -> list[Plugin]:
    """Every word that an installed package offers by an entry point of the group ``primaldual.parts``.

    Args:
        load: load them, which alone shows that they can be. What they print in doing so is not shown.
    """
    from primaldual.primal.plugins import load_word, offered, package_of

    found = []
    for word, entries in offered().items():
        reason = ""
        try:
            if load:
                with quiet():  # the report may be read by a program
                    load_word(word)
        except Exception as error:
            reason = " ".join(str(error).split())
        found.append(Plugin(word, ", ".join(map(package_of, entries)), reason))
    return found
