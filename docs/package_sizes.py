"""Write docs/packages.md: what each package of the library is for, what it needs and how large it is.

python -m docs.package_sizes
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "primaldual"
PAGE = ROOT / "docs" / "packages.md"

NEEDS = {
    "analysis": "",
    "cli": "experiments",
    "compression": "",
    "data": "timeseries",
    "estimators": "timeseries",
    "experiments": "experiments",
    "images": "experiments, vision",
    "integrations": "transformers, vision",
    "training": "timeseries",
}
"""Extras that a package needs beyond torch; those that are not named need none."""

OPENING = """# Packages

What each package of the library is for, the extra that it needs beyond torch, and its size: files, and lines of Python with
docstrings and blank lines. `import primaldual` loads none of them: every public name loads its module when it is first
asked for, and `primaldual --help` loads neither torch nor anything of an extra.

"""

CLOSING = """
Imports run one way, and a test parses them: [the order](all_of_primaldual.md#how-it-is-built).
"""


class Size(NamedTuple):
    """A package with its size."""

    name: str
    purpose: str
    files: int
    lines: int


def sizes(source: Path = SOURCE) -> list[Size]:
    """Every package of a folder by name, its purpose being the first line of its docstring."""
    found = []
    for init in sorted(source.glob("*/__init__.py")):
        texts = [path.read_text(encoding="utf-8") for path in init.parent.rglob("*.py")]
        purpose = (ast.get_docstring(ast.parse(init.read_text(encoding="utf-8"))) or "").splitlines()[0]
        found.append(
            Size(init.parent.name, purpose, len(texts), sum(len(text.splitlines()) for text in texts))
        )
    return found


def page() -> str:
    """The page as text."""
    packages = sizes()
    total = sum(package.lines for package in packages)
    rows = [
        f"| `{name}` | {purpose} | {NEEDS.get(name, '')} | {files} | {lines:,} | {lines / total:.0%} |"
        for name, purpose, files, lines in packages
    ]
    files = sum(package.files for package in packages)
    rows.append(f"| together | | | {files} | {total:,} | |")
    head = ["| package | what it is for | extra | files | lines | share |", "|---|---|---|--:|--:|--:|"]
    return OPENING + "\n".join([*head, *rows]).replace("``", "`") + "\n" + CLOSING


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
