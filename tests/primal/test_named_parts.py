"""Whoever works with parts reads the facts that they state, and names none of them."""

import ast
import importlib
import pkgutil
from functools import cache
from pathlib import Path

import pytest

import primaldual.primal
from primaldual.primal.parts import Part

ROOT = Path(primaldual.__file__).parent


@cache
def concrete_parts():
    """The names of all parts of the library, without the kinds that a problem chooses from."""
    for module in pkgutil.walk_packages(primaldual.primal.__path__, "primaldual.primal."):
        importlib.import_module(module.name)
    found, waiting = set(), [kind for base in Part.__subclasses__() for kind in base.__subclasses__()]
    while waiting:
        part = waiting.pop()
        waiting += part.__subclasses__()
        if part.__module__.startswith("primaldual.") and not _is_abstract(part):
            found.add(part.__name__)
    return found


def _is_abstract(part):
    """Whether a class is a base that others complete, such as NestedSolver."""
    return any(getattr(getattr(part, name, None), "__isabstractmethod__", False) for name in dir(part))


ALLOWED = {
    "__init__.py": "the public names",
    "primal/words.py": "the words of specs",
    "primal/presets.py": "what a spec joins",
    "primal/problem.py": "the defaults",
    "primal/derive.py": "the parts made of functions",
    "primal/function_parts.py": "the same",
}
"""Files that may name parts, and what for."""


def names(tree):
    """Every name that a module imports, reads or writes, quoted annotations and class names in strings included.

    Names of torch.nn and ast do not count: nn.Identity and ast.Constant are not parts.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            if not (isinstance(node.value, ast.Name) and node.value.id in ("nn", "ast")):
                yield node.attr
        elif isinstance(node, ast.ImportFrom | ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def defined_parts(tree):
    """The classes that a file defines, and the bases that they extend."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            yield node.name
            yield from (base.id for base in node.bases if isinstance(base, ast.Name))


def named_parts(path):
    """The concrete parts that a file names and neither defines nor extends."""
    tree = ast.parse(path.read_text())
    return sorted(concrete_parts() & set(names(tree)) - set(defined_parts(tree)))


@pytest.mark.parametrize(
    "path", sorted(ROOT.rglob("*.py")), ids=lambda path: path.relative_to(ROOT).as_posix()
)
def test_no_file_names_a_part(path):
    if path.relative_to(ROOT).as_posix() not in ALLOWED:
        assert named_parts(path) == []


def test_named_parts_are_found():
    assert {"BatchNormalization", "Window", "AnchoredHeads", "Identity", "Chain"} <= concrete_parts()
    assert not {"Part", "Transform", "Subset", "FeatureMap", "Normalizer", "FunctionPart"} & concrete_parts()
    assert "PooledHeads" in named_parts(ROOT / "primal" / "words.py")


@pytest.mark.parametrize("path", ALLOWED)
def test_allowed_files_exist(path):
    assert (ROOT / path).exists()


def test_nobody_asks_whether_heads_solve_different_problems():
    """They loop over ``attention.problems(heads)``."""
    found = [path for path in ROOT.rglob("*.py") if "HeadGroups" in set(names(ast.parse(path.read_text())))]
    assert [path.relative_to(ROOT).as_posix() for path in found] == ["primal/head_groups.py"]
