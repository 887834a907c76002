"""The API reference documents every public name, and everything that it documents has a docstring."""

import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest
from docs.site.reference import add_table, all_documented, docstring, documented, found

import primaldual

ROOT = Path(__file__).parents[2]
NAMES = all_documented()


@pytest.fixture(scope="module")
def things():
    return [found(name) for name in NAMES]


def packages():
    yield primaldual
    for info in pkgutil.walk_packages(primaldual.__path__, "primaldual."):
        if info.ispkg and not info.name.startswith("primaldual.kernels."):  # Triton need not be there
            yield importlib.import_module(info.name)


def public_names():
    """What packages list in ``__all__``, every error, and what the documentation tells users to import."""
    errors = importlib.import_module("primaldual.errors")
    names = {f"primaldual.errors.{name}" for name, kind in vars(errors).items() if inspect.isclass(kind)}
    for package in packages():
        names.update(f"{package.__name__}.{name}" for name in getattr(package, "__all__", ()))
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for module, imported in re.findall(
            r"^from (primaldual[\w.]*) import (.+)$", page.read_text(), re.MULTILINE
        ):
            names.update(f"{module}.{name.strip()}" for name in imported.split("#")[0].split(","))
    return sorted(names - {"primaldual.errors.Iterable"})


def test_every_public_name_is_in_the_reference(things):
    absent = []
    for name in public_names():
        thing = found(name)
        if inspect.ismodule(thing):
            is_listed = any(listed.startswith(f"{thing.__name__}.") for listed in NAMES)
        else:
            is_listed = any(thing is listed for listed in things)
        if not is_listed:
            absent.append(name)
    assert absent == [], "name them on a page of docs/api"


def test_everything_in_the_reference_has_a_docstring():
    assert [name for name in NAMES if not docstring(name)] == []


def test_every_public_method_has_a_docstring(things):
    bare = []
    for kind in filter(inspect.isclass, things):
        for parent in kind.__mro__:
            own = vars(parent).items() if parent.__module__.startswith("primaldual") else ()
            for member, value in own:
                is_public = not member.startswith("_") and (
                    inspect.isroutine(value) or isinstance(value, property)
                )
                if is_public and not inspect.getdoc(getattr(kind, member)):
                    bare.append(f"{kind.__name__}.{member}")
    assert bare == []


def test_nothing_is_documented_twice(things):
    assert [
        name for name, thing in zip(NAMES, things, strict=True) if sum(thing is other for other in things) > 1
    ] == []


def test_every_page_is_in_the_contents():
    contents = (ROOT / "docs" / "api" / "index.rst").read_text()
    pages = {page.stem for page in (ROOT / "docs" / "api").glob("*.rst")} - {"index"}
    assert pages == set(re.findall(r"^   (\w+)$", contents, re.MULTILINE))


def test_names_of_a_page():
    page = ".. currentmodule:: primaldual\n\n.. autofunction:: solve\n\n.. autodata:: primaldual.primal.words.PARTS\n"
    assert documented(page) == ["primaldual.solve", "primaldual.primal.words.PARTS"]


def test_a_page_starts_with_a_table_of_its_names():
    content = ["Title\n=====\n\n.. currentmodule:: primaldual\n\n.. autofunction:: preset\n"]
    add_table(None, "api/title", content)
    table, rest = content[0].split(".. currentmodule")
    assert "   * - :py:obj:`~primaldual.preset`\n     - Read a spec" in table
    assert rest.endswith("preset\n")
    plain = ["Text."]
    add_table(None, "start", plain)
    assert plain == ["Text."]
