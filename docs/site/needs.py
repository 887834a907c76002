"""What the site is built from: the distributions of the extra `site`, and those that are not installed.

python -m docs.site.needs
"""

from __future__ import annotations

import re
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).parents[2]


def distributions(extra: str, extras: dict[str, list[str]]) -> list[str]:
    """The names that an extra requires, those of the extras within it included."""
    names: dict[str, None] = {}
    for requirement in extras[extra]:
        own = re.match(r"primaldual\[(.*)\]", requirement)
        if own:
            inner = [name for other in own[1].split(",") for name in distributions(other.strip(), extras)]
            names.update(dict.fromkeys(inner))
        else:
            names[re.split(r"[\s<>=!~;\[]", requirement, maxsplit=1)[0]] = None
    return list(names)


def missing(names: list[str]) -> list[str]:
    """Those of the distributions that are not installed."""
    absent = []
    for name in names:
        try:
            version(name)
        except PackageNotFoundError:
            absent.append(name)
    return absent


def refusal(extra: str = "site") -> str | None:
    """One sentence that names what is missing and what installs it; None if nothing is."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    absent = missing(distributions(extra, project["optional-dependencies"]))
    if not absent:
        return None
    return (
        f"the site documents the whole library, so it needs every extra; not installed: {', '.join(absent)}. "
        f"Run make site, or: pip install -e '.[{extra}]'"
    )


if __name__ == "__main__":
    sys.exit(refusal())
