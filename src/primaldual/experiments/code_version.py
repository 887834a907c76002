"""The version of the code that a result depends on."""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[1]
"""The folder of this library's sources."""

READING = ("data", "experiments/methods", "experiments/execution.py")
"""What every result depends on: reading data, preparing them for a classifier, scoring."""

OURS = (*READING, "kernels", "primal", "svr", "nn", "models", "training", "estimators")
"""What a result of our own classifiers depends on."""


@cache
def code_version(sources: tuple[str, ...], packages: tuple[str, ...]) -> str:
    """Name the code: a hash of sources of this library, and the versions of other packages.

    Comments, docstrings and layout do not count.

    Args:
        sources: files and folders of this library.
        packages: other packages.

    Returns:
        Text such as ``primaldual 3f0a9c51d2e4, torch 2.14.1``.

    Example:
        >>> code_version(("errors.py",), ("torch",)).split()[0]
        'primaldual'
    """
    own = f"primaldual {_digest(_files(sources))}"
    return ", ".join([own, *(f"{package} {version(package)}" for package in packages)])


def module_version(name: str) -> str:
    """Name the code of a user's module: its name and a hash of its source; a module without a file has none.

    Example:
        >>> module_version("primaldual.errors").split()[0]
        'primaldual.errors'
    """
    file = getattr(sys.modules.get(name), "__file__", None)
    return name if file is None or not Path(file).is_file() else f"{name} {_digest([Path(file)])}"


def _digest(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        digest.update(f"{path.name}\n{ast.dump(_without_docstrings(tree))}\n".encode())
    return digest.hexdigest()[:12]


def _files(sources: tuple[str, ...]) -> Iterator[Path]:
    for source in sources:
        place = ROOT / source
        yield from sorted(place.rglob("*.py")) if place.is_dir() else [place]


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [one for one in body if not _is_text(one)]  # type: ignore[attr-defined] # such nodes have one
    return tree


def _is_text(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
