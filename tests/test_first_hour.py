"""The notebook of the first hour runs from top to bottom."""

import json
import re
import sys
from pathlib import Path
from types import ModuleType

import matplotlib.pyplot as plt
import pytest

PATH = Path(__file__).parents[1] / "examples" / "first_hour.ipynb"
CELLS = json.loads(PATH.read_text(encoding="utf-8"))["cells"]


def test_runs_from_top_to_bottom(monkeypatch, capsys, tmp_path):
    plt.close("all")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plt, "show", lambda: None)
    notebook = ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", notebook)  # where pickle looks for what the cells define
    with plt.rc_context({"backend": "agg"}):
        for cell in CELLS:
            if cell["cell_type"] == "code":
                exec(compile("".join(cell["source"]), str(PATH), "exec"), vars(notebook))
        pictures = plt.get_fignums()
    plt.close("all")
    assert len(pictures) == 3
    assert "duality gap" in capsys.readouterr().out


def test_no_outputs_are_kept():
    for cell in CELLS:
        assert cell["cell_type"] == "markdown" or (cell["outputs"], cell["execution_count"]) == ([], None)


@pytest.mark.parametrize(
    "cell", [cell for cell in CELLS if cell["cell_type"] == "markdown"], ids=lambda cell: cell["id"]
)
def test_links_exist(cell):
    for target in re.findall(r"\]\((?!http)([^)#]+)", "".join(cell["source"])):
        assert (PATH.parent / target).exists(), target
