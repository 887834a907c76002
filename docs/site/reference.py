"""The pages of docs/api: which names they document, and a table of them at the head of each page."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from importlib import import_module
from itertools import pairwise
from pathlib import Path

from docs.site.docstrings import restructured

API = Path(__file__).parents[1] / "api"

_DIRECTIVE = re.compile(r"^\.\. (currentmodule|auto\w+):: (\S+)", re.MULTILINE)


def documented(text: str) -> list[str]:
    """Full names of what a page documents, in its order."""
    module, names = "", []
    for directive, name in _DIRECTIVE.findall(text):
        if directive == "currentmodule":
            module = name
        else:
            names.append(name if name.startswith("primaldual.") else f"{module}.{name}")
    return names


def all_documented(folder: Path = API) -> list[str]:
    """Full names of what all pages document."""
    return [
        name for page in sorted(folder.glob("*.rst")) for name in documented(page.read_text(encoding="utf-8"))
    ]


def found(name: str) -> object:
    """What a full name stands for; a function comes before a module of the same name."""
    path, *parts = name.split(".")
    thing: object = import_module(path)
    for part in parts:
        path += f".{part}"
        thing = getattr(thing, part) if hasattr(thing, part) else import_module(path)
    return thing


def docstring(name: str) -> str:
    """The docstring of a class or function, and that below the definition of anything else; "" if there is none."""
    thing = found(name)
    if inspect.isclass(thing) or inspect.isroutine(thing):
        return inspect.getdoc(thing) or ""
    module, _, own = name.rpartition(".")
    body = ast.parse(inspect.getsource(sys.modules[module])).body
    for statement, after in pairwise(body):
        targets = (
            statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        )
        is_own = any(isinstance(target, ast.Name) and target.id == own for target in targets)
        if is_own and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            return inspect.cleandoc(str(after.value.value))
    return ""


def add_table(app: object, page: str, content: list[str]) -> None:
    """Put a table of its names before the first of them: a listener of `source-read`."""
    names = documented(content[0]) if page.startswith("api/") else []
    if names:
        lines = {name: restructured(docstring(name).splitlines()[:1]) for name in names}
        rows = "".join(f"   * - :py:obj:`~{name}`\n     - {''.join(line)}\n" for name, line in lines.items())
        head, first, rest = content[0].partition(".. currentmodule::")
        content[0] = f"{head}.. list-table::\n   :widths: auto\n\n{rows}\n{first}{rest}"
