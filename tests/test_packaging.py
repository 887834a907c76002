"""What a release holds: the version of one place, the library alone in the wheel, everything to test it in the sdist."""

import re
import tarfile
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

import primaldual

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The wheel and the sdist, by the build backend in this process."""
    from hatchling.build import build_sdist, build_wheel

    folder = tmp_path_factory.mktemp("dist")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        return folder / build_wheel(str(folder)), folder / build_sdist(str(folder))


@pytest.fixture(scope="module")
def wheel(built):
    with zipfile.ZipFile(built[0]) as archive:
        yield archive


@pytest.fixture(scope="module")
def metadata(wheel):
    name = next(name for name in wheel.namelist() if name.endswith("/METADATA"))
    return Parser().parsestr(wheel.read(name).decode())


def test_the_wheel_holds_the_library_typed_and_licensed_and_nothing_else(wheel):
    names = wheel.namelist()
    assert {name.split("/")[0] for name in names} == {
        "primaldual", f"primaldual-{primaldual.__version__}.dist-info"
    }  # fmt: skip
    assert {"primaldual/py.typed", "primaldual/__init__.pyi"} <= set(names)
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    sources = {str(path.relative_to(ROOT / "src")) for path in (ROOT / "src").rglob("*.py")}
    assert sources <= set(names)
    pages = {str(path.relative_to(ROOT / "src")) for path in (ROOT / "src").rglob("templates/*")}
    assert pages <= set(names)


def test_the_wheel_is_pure_python_and_has_one_command(wheel):
    info = f"primaldual-{primaldual.__version__}.dist-info"
    assert "Tag: py3-none-any" in wheel.read(f"{info}/WHEEL").decode()
    assert wheel.read(f"{info}/entry_points.txt").decode().split() == [
        "[console_scripts]", "primaldual", "=", "primaldual.cli:main"
    ]  # fmt: skip


def test_the_core_needs_torch_alone(metadata):
    core = [need for need in metadata.get_all("Requires-Dist") if "extra ==" not in need]
    assert [re.split(r"[<>=~! ]", need)[0] for need in core] == ["torch"]
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"


def test_the_sdist_holds_what_builds_tests_and_explains_it(built):
    with tarfile.open(built[1]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "src/primaldual/py.typed"} <= names
    assert {"tests/conftest.py", "docs/all_of_primaldual.md", "Makefile", "constraints.txt"} <= names
    assert not {name for name in names if "__pycache__" in name or name.startswith((".venv", "runs/"))}


def test_the_version_comes_from_one_place(metadata):
    assert "version" not in PROJECT
    assert PROJECT["dynamic"] == ["version"]
    assert metadata["Version"] == primaldual.__version__
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {primaldual.__version__}\n" in citation
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"\n## [{primaldual.__version__}]" in changes


def test_classifiers_name_every_python_that_is_tested():
    workflow = (ROOT / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8")
    stated = {row.rsplit(" ", 1)[1] for row in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", row)}
    assert stated == set(re.findall(r'"(3\.\d+)"', workflow))
