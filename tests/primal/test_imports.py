"""The modules of `primal` import one another one way, also for typing and inside functions."""

import ast
from pathlib import Path

import primaldual

ROOT = Path(primaldual.__file__).parent.parent


def import_graph(package):
    """Every module of a package, with those of the same package that it imports anywhere in its text."""
    folder = ROOT / package.replace(".", "/")
    files = {_module(path): path for path in sorted(folder.rglob("*.py"))}
    return {module: _imported(path, files) - {module} for module, path in files.items()}


def cycles(graph):
    """The sets of modules that reach one another, each sorted; a module that stands alone is none."""
    reached = {module: _reachable(graph, module) for module in graph}
    found = {
        tuple(other for other in sorted(graph) if other in reached[module] and module in reached[other])
        for module in graph
    }
    return sorted(filter(None, found))


def _module(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def _imported(path, files):
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names] + [node.module]
        else:
            continue
        for name in names:
            parts = name.split(".")
            found |= {".".join(parts[:count]) for count in range(1, len(parts) + 1)} & files.keys()
    return found


def _reachable(graph, start):
    seen, waiting = set(), [start]
    while waiting:
        new = graph[waiting.pop()] - seen
        seen |= new
        waiting += new
    return seen


def test_a_cycle_is_found():
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a", "c"}}
    assert cycles(graph) == [("b", "c")]


def test_imports_for_typing_and_in_functions_count(tmp_path):
    text = (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from p import a\ndef f():\n    import p.b\n"
    )
    (tmp_path / "c.py").write_text(text)
    files = dict.fromkeys(["p", "p.a", "p.b"])
    assert _imported(tmp_path / "c.py", files) == {"p", "p.a", "p.b"}


def test_decoding_is_in_no_cycle():
    found = cycles(import_graph("primaldual.primal"))
    assert [cycle for cycle in found if any(".decoding." in module for module in cycle)] == []


def test_primal_has_no_cycle():
    assert cycles(import_graph("primaldual.primal")) == []


def test_decoding_does_not_reach_the_problem():
    graph = import_graph("primaldual.primal")
    for module in graph:
        if ".decoding." in module:
            assert "primaldual.primal.problem" not in _reachable(graph, module), module
