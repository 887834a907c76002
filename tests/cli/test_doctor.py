import json
import subprocess
import sys

import pytest

from primaldual import __version__
from tests.cli.helpers import run
from tests.environment.helpers import break_imports


def test_it_says_what_python_says(capsys):
    code, out, err = run(capsys, "doctor", "--quick")
    assert (code, err) == (0, "")
    assert out.startswith(f"primaldual {__version__}\n")
    found = json.loads(run(capsys, "doctor", "--quick", "--json")[1])
    assert found["version"] == __version__
    assert "cpu" in found["torch"]["devices"]
    assert any(package["name"] == "torch" for package in found["extras"]["core"])


@pytest.mark.parametrize("missing", ["typer", "rich"])
@pytest.mark.parametrize("kind", [ModuleNotFoundError, RuntimeError])
def test_it_works_without_what_the_other_commands_need(capsys, monkeypatch, missing, kind):
    for name in [*sys.modules]:
        if name.startswith("primaldual.cli."):
            monkeypatch.delitem(sys.modules, name)
    break_imports(monkeypatch, {missing: kind(f"no {missing}")})
    code, out, err = run(capsys, "doctor", "--quick")
    assert (code, err) == (0, "")
    assert out.startswith(f"primaldual {__version__}\n")
    assert run(capsys, "--version")[:2] == (0, f"primaldual {__version__}\n")
    code, out, err = run(capsys, "compare", "x")
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert f"need the extra [experiments] ({kind.__name__}: no {missing})" in err


def test_it_works_without_torch():
    code = "import sys; sys.modules['torch'] = None; from primaldual.cli import main; main(['doctor', '--quick', '--json'])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found = json.loads(shown.stdout)
    assert (found["torch"], found["forms"]) == ({}, [])
    assert set(found["troubles"]) == {"torch", "forms", "plugins"}
    assert "torch" in found["troubles"]["torch"]
