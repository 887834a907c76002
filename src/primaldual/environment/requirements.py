"""What the library and its extras need, as the metadata of the installed distribution says."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, requires
from typing import NamedTuple

FOR_DEVELOPERS = {"all", "bench", "dev", "docs", "test"}
"""Extras that serve work on the library itself, or that only repeat others."""

_NEED = re.compile(r"(?P<name>[\w.-]+)\s*(?:\[(?P<extras>[^\]]*)\])?\s*(?P<bounds>[^;]*)(?:;(?P<marker>.*))?")


class Requirement(NamedTuple):
    """A distribution that something needs.

    Attributes:
        name: as pip knows it.
        bounds: accepted versions, such as ">=1.6"; "" = any.

    Example:
        >>> str(Requirement("torch", ">=2.13")), Requirement("torch", ">=2.13").minimum
        ('torch>=2.13', '2.13')
    """

    name: str
    bounds: str = ""

    def __str__(self) -> str:
        return f"{self.name}{self.bounds}"

    @property
    def minimum(self) -> str:
        """The oldest accepted version; "" = any."""
        found = re.search(r">=\s*([^,\s]+)", self.bounds)
        return found.group(1) if found else ""


def requirements(distribution: str = "primaldual") -> dict[str, list[Requirement]]:
    """What a distribution needs, by extra; the core under "".

    Args:
        distribution: as pip knows it.

    Returns:
        The extras for users, each with all that it brings beyond the core; nothing where the distribution is not installed,
        as when its source tree lies on the path.

    Example:
        >>> [need.name for need in requirements()[""]]
        ['torch']
    """
    try:
        lines = requires(distribution) or []
    except PackageNotFoundError:
        return {}
    stated: dict[str, list[Requirement]] = {"": []}
    included: dict[str, list[str]] = {}
    for line in lines:
        match = _NEED.fullmatch(line.strip())
        if match is None:
            continue
        extra = re.search(r"extra\s*==\s*[\"']([^\"']+)", match["marker"] or "")
        name = extra.group(1) if extra else ""
        if match["name"] == distribution:
            included.setdefault(name, []).extend(part.strip() for part in match["extras"].split(","))
        else:
            stated.setdefault(name, []).append(Requirement(match["name"], match["bounds"].strip()))
    extras = sorted({*stated, *included} - FOR_DEVELOPERS)
    return {extra: _all_of(extra, stated, included) for extra in extras}


def _all_of(
    extra: str, stated: dict[str, list[Requirement]], included: dict[str, list[str]]
) -> list[Requirement]:
    """What an extra names, and what the extras that it includes name; these do not include one another in a circle."""
    found = [*stated.get(extra, [])]
    for other in included.get(extra, []):
        found += [need for need in _all_of(other, stated, included) if need not in found]
    return found
