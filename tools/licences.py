"""Check the licences of everything that the library brings: what it needs, and what its extras need.

python -m tools.licences [EXTRA ...]

Prints a line for each installed distribution, and exits with 1 if the licence of one is unknown or not accepted.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageMetadata, PackageNotFoundError, metadata, requires

ACCEPTED = (
    r"MIT|BSD|Apache|PSF|Python Software Foundation|ISC|MPL|Mozilla|HPND|Unlicense|CC0|Zlib|Boost|BSL-1.0"
)
"""Licences whose code may be used beside ours, as words of their names."""

REFUSED = r"GPL|GNU|AGPL|SSPL|Commons Clause|Non-?Commercial"
"""Words of licences that ask something of the code beside theirs."""

VENDOR = {
    "nvidia": "NVIDIA's own terms; the CUDA libraries come with torch's wheels for Linux",
    "cuda": "NVIDIA's own terms; the CUDA libraries come with torch's wheels for Linux",
}
"""Distributions under terms of their own that torch brings, by the first word of their names."""


def closure(extras: Iterable[str]) -> Iterator[str]:
    """Names of the distributions that the library needs with some extras, and that these need in turn."""
    waiting, seen = [("primaldual", extra) for extra in ("", *extras)], set[tuple[str, str]]()
    while waiting:
        name, wanted = waiting.pop()
        if (name, wanted) in seen:
            continue
        seen.add((name, wanted))
        try:
            needs = requires(name) or []
        except PackageNotFoundError:
            continue
        for need in needs:
            extra = re.search(r"extra\s*==\s*[\"']([^\"']+)", need)
            if (extra.group(1) if extra else "") == wanted:
                stated = re.match(r"([\w.-]+)\s*(?:\[([^\]]*)\])?", need)
                assert stated is not None
                found = re.sub(r"[-_.]+", "-", stated.group(1)).lower()
                waiting += [(found, part.strip()) for part in ("", *(stated.group(2) or "").split(","))]
    yield from sorted({name for name, _ in seen} - {"primaldual"})


def licence(of: PackageMetadata) -> str:
    """The licence that a distribution states: as an expression, by its classifiers, or in words.

    Returns:
        Its name; "" where none is stated.
    """
    classified = [row.rpartition(" :: ")[2] for row in of.get_all("Classifier") or [] if "License ::" in row]
    [expression, stated] = [
        (of.get_all(field) or [""])[0].strip() for field in ("License-Expression", "License")
    ]
    return expression or "; ".join(classified) or stated.partition("\n")[0]


def verdict(name: str, stated: str) -> str | None:
    """Why a licence is not accepted; None if it is.

    Example:
        >>> verdict("torch", "BSD-3-Clause"), verdict("other", "GPL-3.0-only")
        (None, "'GPL-3.0-only' asks for more than to keep its notice")
    """
    if name.split("-", maxsplit=1)[0] in VENDOR:
        return None
    choices = re.split(r"\s+OR\s+", stated)
    if any(re.search(ACCEPTED, one, re.IGNORECASE) and not re.search(REFUSED, one) for one in choices):
        return None
    if not stated or stated == "OSI Approved":
        return "states no licence"
    return f"{stated!r} asks for more than to keep its notice"


def main(extras: list[str]) -> int:
    """Print the licences; 1 if one is not accepted, otherwise 0."""
    refused = 0
    for name in closure(extras or ["all"]):
        try:
            stated = licence(metadata(name))
        except PackageNotFoundError:
            continue  # for another system or version of Python
        reason = verdict(name, stated)
        refused += reason is not None
        shown = VENDOR.get(name.split("-")[0], stated)
        print(f"{name:28} {shown[:80]}{'   REFUSED: ' + reason if reason else ''}")
    return int(refused > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
