"""Docstrings as the site shows them: formulas as they are typed.

A docstring sets a formula off by an empty line and four spaces, as in Markdown, and writes |x| for a norm. In
reStructuredText the first is a quotation whose lines are joined, and the second a substitution. There, too, an argument
described as "H." starts a list, and a reference whose second line is indented is a definition.
"""

from __future__ import annotations

import re

# Napoleon's sections, whose contents are indented and no formulas.
_SECTION = re.compile(r"(Args|Attributes|Example|Examples|Note|Raises|Reference|Returns|Warns|Yields):.*")
_ITEM = re.compile(r"([-*]|\d+\.|\.\.) .*")
_CODE = re.compile(r"(``.*?``|`[^`]*`)")
_SYMBOL = re.compile(r"^(\s+\w+: )([A-Z]\.)$")


def restructured(lines: list[str]) -> list[str]:
    """The lines of a docstring with formulas as literal blocks, and without accidental markup elsewhere."""
    shown: list[str] = []
    in_formula = in_example = False
    parent = ""  # the last line without indentation
    before = ""  # the line before
    for line in lines:
        indented = line.startswith("    ")
        if line and not line[0].isspace():
            parent, in_formula = line, False
        elif indented and not (before or in_formula or _SECTION.match(parent) or _ITEM.match(parent)):
            shown += [".. code-block:: none", ""]
            in_formula = True
        in_example = bool(line.strip()) and (in_example or line.lstrip().startswith(">>>"))
        if (in_formula and indented) or in_example:
            shown.append(line)
        else:
            shown.append(_prose(line.lstrip() if parent.startswith("Reference: ") else line))
        before = line.strip()
    return shown


def _prose(line: str) -> str:
    pieces = _CODE.split(_SYMBOL.sub(r"\1\\\2", line))
    return "".join(piece if place % 2 else piece.replace("|", r"\|") for place, piece in enumerate(pieces))


def process(app: object, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """Rewrite a docstring before Napoleon reads it: a listener of `autodoc-process-docstring`.

    Napoleon takes what stands before a colon in the first line of an attribute for its type; an empty comment in front
    keeps the line whole.
    """
    lines[:] = restructured(lines)
    if what in {"attribute", "data", "property"}:
        lines[:0] = ["..", ""]


def process_signature(
    app: object,
    what: str,
    name: str,
    thing: type,
    options: object,
    arguments: str | None,
    returned: str | None,
) -> tuple[str, None] | None:
    """Leave out the signature of a class that has none of its own: a listener of `autodoc-process-signature`."""
    inherited = what == "class" and not getattr(thing.__init__, "__module__", "").startswith("primaldual")
    return ("", None) if inherited else None
