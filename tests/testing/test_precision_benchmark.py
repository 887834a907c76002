"""The benchmark of precision: its rows, its summary and its exit status."""

import json
import sys

import pytest
from benchmarks import precision

ARGUMENTS = ["--spec", "bn", "--family", "mean 300", "--dtype", "float32"]


def test_it_writes_what_it_measures(monkeypatch, capsys, tmp_path):
    path = tmp_path / "rows.json"
    monkeypatch.setattr(sys, "argv", ["precision", *ARGUMENTS, "--json", str(path)])
    assert precision.main() == 0
    rows = json.loads(path.read_text())
    assert [row["is_causal"] for row in rows] == [False, True]
    assert all(row["met"] and row["spec"] == "bn" and row["family"] == "mean 300" for row in rows)
    assert "float32: worst ratio" in capsys.readouterr().out.splitlines()[-1]


def test_a_missed_bar_is_told(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["precision", *ARGUMENTS])
    monkeypatch.setitem(precision.BARS, precision.torch.float32, 1e-9)
    assert precision.main() == 1
    assert "2 of 2 missed" in capsys.readouterr().out


def test_no_case_is_an_error(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["precision", "--family", "nothing"])
    with pytest.raises(SystemExit) as error:
        precision.main()
    assert error.value.code == 2
    assert "no case has this" in capsys.readouterr().err


def test_json_has_no_infinities():
    assert precision.plain({"a": [float("inf"), 1.0]}) == {"a": ["inf", 1.0]}
