"""Imports run one way, and the package stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import primaldual

ROOT = Path(primaldual.__file__).parent

BELOW = {
    "errors": set(),
    "reporting": {"errors"},
    "kernels": {"errors"},
    "primal": {"errors", "kernels"},
    "testing": {"errors", "kernels", "primal"},
    "svr": {"errors", "kernels", "primal", "reporting"},
    "nn": {"errors", "kernels", "primal"},
    "models": {"errors", "kernels", "primal", "nn"},
    "training": {"errors", "models", "reporting"},
    "data": {"errors", "reporting"},
    "estimators": {"errors", "primal", "svr", "nn", "models", "training", "data", "reporting"},
    "integrations": {"errors", "kernels", "primal", "nn", "reporting"},
    "analysis": {"errors", "kernels", "primal", "svr", "nn", "models", "integrations"},
    "compression": {"errors", "kernels", "primal", "nn", "integrations", "analysis", "reporting"},
    "experiments": {
        "errors",
        "primal",
        "svr",
        "nn",
        "models",
        "training",
        "estimators",
        "integrations",
        "analysis",
        "data",
        "reporting",
    },
    "images": {
        "errors",
        "primal",
        "integrations",
        "analysis",
        "training",
        "experiments",
        "reporting",
    },
    "language": {"errors", "integrations", "compression", "models", "training", "images", "reporting"},
    "__main__": {"cli"},
    "cli": {
        "errors",
        "primal",
        "svr",
        "training",
        "estimators",
        "analysis",
        "compression",
        "data",
        "experiments",
        "images",
        "language",
        "reporting",
    },
}
"""What each package may import of the others."""

OUTSIDE = {
    "errors": set(),
    "reporting": {"matplotlib"},
    "kernels": {"torch", "triton"},
    "primal": {"torch"},
    "testing": {"torch"},
    "svr": {"torch", "safetensors"},
    "nn": {"torch"},
    "models": {"torch"},
}
"""What the core may import from outside the standard library."""


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module


def package(path):
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


FILES = [path for path in sorted(ROOT.rglob("*.py")) if path != ROOT / "__init__.py"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_one_way(path):
    here = package(path)
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "primaldual":
            target = parts[1] if len(parts) > 1 else "__init__"
            allowed = BELOW[here] | {here} | ({"__init__"} if here == "cli" else set())
            assert target in allowed, f"{here} must not import primaldual.{target}"
        elif here in OUTSIDE and parts[0] not in sys.stdlib_module_names:
            assert parts[0] in OUTSIDE[here], f"{here} must not import {parts[0]}"


def test_every_package_has_its_place():
    assert {package(path) for path in FILES} == set(BELOW)


def test_the_documentation_says_what_every_package_is_for():
    page = (Path(__file__).parents[1] / "docs" / "all_of_primaldual.md").read_text(encoding="utf-8")
    table = page[page.index("| package |") :].partition("\n\n")[0]
    named = {line.split("`")[1] for line in table.splitlines()[2:]}
    assert named == {path.parent.name for path in ROOT.glob("*/__init__.py")}


def test_import_is_light():
    """Only torch comes with the package; what serves data sets, plots and models loads when asked for."""
    heavy = ["aeon", "sklearn", "matplotlib", "timm", "transformers", "accelerate", "jinja2", "typer", "rich"]
    heavy += ["scipy", "pandas", "numba", "safetensors"]
    code = f"import sys, primaldual; print([name for name in {heavy} if name in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
