"""Help and version come at once: no command loads what only its run needs."""

import subprocess
import sys

import pytest

from primaldual import __version__

HEAVY = "torch numpy sklearn aeon matplotlib pandas scipy timm transformers accelerate ray"
CODE = f"""
import contextlib, io, sys
from primaldual.cli import main
for words in ([], ["--version"], *([*name.split(), "--help"] for name in sys.argv[1:])):
    with contextlib.redirect_stdout(io.StringIO()) as shown:
        main(words)
    print(shown.getvalue())
    assert not (found := {{*sys.modules}} & {{*"{HEAVY}".split()}}), (words, found)
"""


def commands():
    from typer.main import get_command

    from primaldual.cli.app import app

    found = get_command(app).commands
    return [*found, *(f"train {name}" for name in found["train"].commands)]


@pytest.fixture(scope="module")
def shown():
    run = subprocess.run(
        [sys.executable, "-c", CODE, *commands()], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_help_and_version_load_neither_torch_nor_anything_of_an_extra(shown):
    assert f"primaldual {__version__}\n" in shown


def test_every_command_has_help_with_an_example(shown):
    assert shown.count("Usage: ") == 1 + len(commands())
    assert shown.count("Examples:") >= len(commands())
