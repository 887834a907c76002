import json
import subprocess
import sys

from primaldual import __version__
from tests.cli.helpers import run


def test_it_says_what_python_says(capsys):
    code, out, err = run(capsys, "doctor", "--quick")
    assert (code, err) == (0, "")
    assert out.startswith(f"primaldual {__version__}\n")
    found = json.loads(run(capsys, "doctor", "--quick", "--json")[1])
    assert found["version"] == __version__
    assert "cpu" in found["torch"]["devices"]
    assert any(package["name"] == "torch" for package in found["extras"]["core"])


def test_it_works_without_torch():
    code = "import sys; sys.modules['torch'] = None; from primaldual.cli import main; main(['doctor', '--quick', '--json'])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found = json.loads(shown.stdout)
    assert (found["torch"], found["forms"]) == ({}, [])
    assert set(found["troubles"]) == {"torch", "forms", "plugins"}
    assert "torch" in found["troubles"]["torch"]
