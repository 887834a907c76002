import importlib.metadata
import json
import sys

import pytest

from primaldual.environment import doctor as module
from primaldual.environment.doctor import doctor
from primaldual.environment.packages import MODULES
from primaldual.environment.requirements import requirements
from tests.environment.helpers import break_imports


@pytest.fixture
def everything_broken(monkeypatch):
    """All packages of all extras raise on import; torch, which this process needs, does not."""
    names = {need.name for needs in requirements().values() for need in needs} - {"torch"}
    modules = {MODULES.get(name, name.replace("-", "_")).partition(".")[0] for name in names} | {"triton"}
    break_imports(monkeypatch, {name: RuntimeError(f"{name} is\nbroken") for name in modules})
    return names


def test_a_machine_on_which_nothing_works_gets_its_report(everything_broken):
    found = doctor()
    assert {package.requirement.name for package in found.problems()} == everything_broken | {"triton"}
    text = str(found)
    assert 'pip install --force-reinstall "timm>=' in text
    assert "RuntimeError: timm is broken" in text
    assert "softmax" in [form.name for form in found.forms if form.serves]
    assert found.troubles == {}
    assert json.loads(json.dumps(found.as_dict()))["triton"]["state"] == "broken"


def test_parts_of_the_report_that_fail_are_named_in_it(monkeypatch):
    def fail():
        raise OSError("no such device")

    for part in ("system", "torch_facts", "_forms", "requirements"):
        monkeypatch.setattr(module, part, fail)
    monkeypatch.setattr(module, "plugins", lambda load: fail())
    found = doctor(imports=False)
    assert set(found.troubles) == {"system", "torch", "forms", "plugins", "extras"}
    assert "OSError: no such device" in str(found)


def test_missing_packages_are_named_with_one_line_that_installs_them(monkeypatch):
    def version(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.version", version)
    text = str(doctor(imports=False))
    assert "timm MISSING, torchvision MISSING" in text
    needs = " ".join(f'"{need}"' for need in requirements()["vision"])
    assert f"pip install {needs}\n" in text
    assert "No problems." in text


def test_looking_up_versions_imports_nothing(monkeypatch):
    break_imports(monkeypatch, {name: RuntimeError(name) for name in ("timm", "ray", "triton")})
    assert doctor(imports=False).problems() == []
    assert "timm" not in sys.modules
