"""Words of specs that installed packages add by an entry point, loaded when a spec first names one."""

from __future__ import annotations

import inspect
from importlib.metadata import EntryPoint, entry_points

from primaldual.errors import SpecError
from primaldual.primal.parts import Part
from primaldual.primal.words import NAMED, PARTS, register

GROUP = "primaldual.parts"
"""The group of entry points: each has a word for its name, and the class of the part for its object."""


def offered() -> dict[str, list[EntryPoint]]:
    """The words that installed packages offer beyond the library's own, none of them loaded; in small letters, as in specs.

    Example:
        >>> "softmax" in offered()
        False
    """
    found: dict[str, list[EntryPoint]] = {}
    for entry in entry_points(group=GROUP):
        word = entry.name.lower()
        if word not in NAMED and not _own(word):
            found.setdefault(word, []).append(entry)
    return found


def package_of(entry: EntryPoint) -> str:
    """The distribution that offers a word, with its version."""
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else "an unknown package"


def load_word(word: str) -> bool:
    """Load the part behind a word that an installed package offers, and register it.

    The entry point's object is the class of a part, or a module that calls :func:`primaldual.register`.

    Args:
        word: as in a spec.

    Returns:
        Whether the word is known now; False where no package offers it.

    Raises:
        SpecError: two packages offer the word, its module fails, or what it loads is no part of that name.
    """
    if word in PARTS:
        return True
    entries = offered().get(word, [])
    if not entries:
        return False
    if len({entry.value for entry in entries}) > 1:
        packages = " and ".join(map(package_of, entries))
        raise SpecError(f"the word {word!r} is offered by {packages}; uninstall one of them")
    entry = entries[0]
    source = f"the word {word!r} of {package_of(entry)}, which names {entry.value},"
    try:
        part = entry.load()
        if inspect.isclass(part) and issubclass(part, Part):
            part.name = word if part.name is None else part.name
            if part.name == word:
                register(part)
        elif not inspect.ismodule(part):
            raise TypeError(
                f"{entry.value} must be the class of a Part or a module; got {type(part).__name__}"
            )
    except (Exception, SystemExit) as error:
        raise SpecError(f"{source} cannot be loaded: {type(error).__name__}: {error}") from error
    if word not in PARTS:
        raise SpecError(f"{source} is not registered by it: the name of the class must be {word!r}")
    return True


def _own(word: str) -> bool:
    return word in PARTS and PARTS[word].__module__.partition(".")[0] == "primaldual"
