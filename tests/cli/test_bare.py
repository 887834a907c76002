import sys

import pytest

from primaldual import __version__
from tests.cli.helpers import run
from tests.environment.helpers import break_imports


@pytest.mark.parametrize("missing", ["typer", "rich"])
@pytest.mark.parametrize("kind", [ModuleNotFoundError, RuntimeError])
def test_the_doctor_and_the_version_need_no_package_of_the_commands(capsys, monkeypatch, missing, kind):
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
