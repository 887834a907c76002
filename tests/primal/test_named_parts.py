"""Whoever works with parts reads the facts that they state, and names none of them."""

import ast
import importlib
import pkgutil
from pathlib import Path

import pytest

import primaldual.primal
from primaldual.primal.parts import Part

ROOT = Path(primaldual.__file__).parent


def concrete_parts():
    """The names of all parts of the library, without the kinds that a problem chooses from."""
    for module in pkgutil.walk_packages(primaldual.primal.__path__, "primaldual.primal."):
        importlib.import_module(module.name)
    found, waiting = set(), [kind for base in Part.__subclasses__() for kind in base.__subclasses__()]
    while waiting:
        part = waiting.pop()
        waiting += part.__subclasses__()
        if part.__module__.startswith("primaldual."):
            found.add(part.__name__)
    return found


def names(tree):
    """Every name that a module imports, reads or writes, quoted annotations and class names in strings included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.ImportFrom | ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def named_parts(path):
    """The concrete parts that a file names."""
    return sorted(concrete_parts() & set(names(ast.parse(path.read_text()))))


@pytest.mark.parametrize(
    "path", sorted((ROOT / "primal" / "decoding").rglob("*.py")), ids=lambda path: path.name
)
def test_decoding_names_no_part(path):
    assert named_parts(path) == []


def test_named_parts_are_found():
    assert {"BatchNormalization", "Window", "AnchoredHeads", "Identity", "Chain"} <= concrete_parts()
    assert not {"Part", "Transform", "Subset", "FeatureMap", "Normalizer", "FunctionPart"} & concrete_parts()
    assert "PooledHeads" in named_parts(ROOT / "primal" / "presets.py")
