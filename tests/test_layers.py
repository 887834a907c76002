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
    "parallel": {"errors", "kernels", "primal"},
    "models": {"errors", "kernels", "primal", "svr", "nn"},
    "training": {"errors", "models", "reporting"},
    "data": {"errors", "reporting"},
    "environment": {"__init__", "errors", "primal"},
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
        "data",
        "integrations",
        "analysis",
        "training",
        "experiments",
        "reporting",
    },
    "sequences": {
        "errors",
        "primal",
        "models",
        "training",
        "data",
        "experiments",
        "images",
        "reporting",
    },
    "language": {"errors", "kernels", "integrations", "compression", "models", "training", "reporting"},
    "__main__": {"cli"},
    "cli": {
        "__init__",
        "errors",
        "kernels",
        "primal",
        "svr",
        "training",
        "estimators",
        "analysis",
        "compression",
        "data",
        "environment",
        "experiments",
        "images",
        "sequences",
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
    "environment": {"torch"},
    "testing": {"torch"},
    "svr": {"torch", "safetensors"},
    "nn": {"torch"},
    "models": {"torch"},
    "parallel": {"torch"},
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
            allowed = BELOW[here] | {here}
            assert target in allowed, f"{here} must not import primaldual.{target}"
        elif here in OUTSIDE and parts[0] not in sys.stdlib_module_names:
            assert parts[0] in OUTSIDE[here], f"{here} must not import {parts[0]}"


def test_every_package_has_its_place():
    assert {package(path) for path in FILES} == set(BELOW)


HEAVY = "accelerate aeon jinja2 matplotlib numba pandas ray rich safetensors scipy sklearn timm transformers triton typer"
"""What a user of the core has not installed, or should not wait for."""


def loaded(code, names):
    """Which of some modules a fresh process has loaded after some code."""
    code = f"import sys; {code}; print(*[name for name in {names!r}.split() if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return run.stdout.splitlines()[-1]


def test_import_loads_nothing_and_the_core_only_torch():
    core = "problem = primaldual.preset('bn+sh(1,1,2,4)'); primaldual.MultiheadAttention(8, 4, attention=problem)"
    assert loaded("import primaldual", f"torch numpy {HEAVY}") == ""
    assert loaded(f"import primaldual; {core}; primaldual.solve", HEAVY) == ""
