import sys

import pytest

from primaldual.environment.packages import examine, failure, in_one_line
from primaldual.environment.requirements import Requirement
from tests.environment.helpers import break_imports


@pytest.mark.parametrize(
    "error",
    [
        ImportError("libfoo.so.7: cannot open shared object file"),
        RuntimeError("operator torchvision::nms does not exist"),
        AttributeError("module has no attribute '__spec__'"),
        ModuleNotFoundError("No module named 'a_part_of_it'", name="a_part_of_it"),
        SystemExit(3),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("name", ["timm", "triton", "transformers", "accelerate", "ray", "matplotlib"])
def test_whatever_an_import_raises_is_told_in_one_line(monkeypatch, name, error):
    break_imports(monkeypatch, {name: error})
    found = examine(Requirement(name, ">=0.1"))
    assert found.state == "broken"
    assert found.reason == in_one_line(error)
    assert "\n" not in found.reason
    assert found.remedy == f'pip install --force-reinstall "{name}>=0.1"'


def test_what_was_never_installed_is_missing_and_what_lost_its_files_broken(monkeypatch):
    found = examine(Requirement("no-such-package", ">=1"))
    assert (found.state, found.version, found.remedy) == ("missing", None, 'pip install "no-such-package>=1"')
    assert examine(Requirement("no-such-package"), imports=False).state == "missing"
    break_imports(monkeypatch, {"timm": ModuleNotFoundError("No module named 'timm'", name="timm")})
    monkeypatch.setattr("importlib.metadata.version", lambda name: "1.0.31")
    assert examine(Requirement("timm")).state == "broken"


def test_a_package_that_is_older_than_needed(monkeypatch):
    monkeypatch.setattr("importlib.metadata.version", lambda name: "2.9.1+cpu")
    found = examine(Requirement("torch", ">=2.13"))
    assert (found.state, found.reason) == ("too old", "2.9.1+cpu is older than 2.13")
    assert examine(Requirement("torch", ">=2.9")).state == "works"


@pytest.mark.parametrize(
    "damage", [None, KeyError("Version"), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "")]
)
def test_metadata_that_cannot_be_read_is_no_reason_to_fail(monkeypatch, damage):
    def version(name):
        if damage:
            raise damage

    monkeypatch.setattr("importlib.metadata.version", version)
    found = examine(Requirement("torch", ">=2.13"))
    assert (found.state, found.version) == ("works", None)


def test_what_a_package_prints_and_warns_of_is_not_shown(monkeypatch, tmp_path, capfd):
    (tmp_path / "talking_package.py").write_text("import warnings; print('hello'); warnings.warn('old')")
    monkeypatch.syspath_prepend(tmp_path)
    assert failure("talking_package") is None
    assert capfd.readouterr() == ("", "")
    sys.modules.pop("talking_package")


def test_an_interrupt_is_one(monkeypatch):
    break_imports(monkeypatch, {"timm": KeyboardInterrupt()})
    with pytest.raises(KeyboardInterrupt):
        examine(Requirement("timm"))
