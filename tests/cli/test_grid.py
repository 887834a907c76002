from __future__ import annotations

import json

import numpy as np
import pytest

from tests.cli.helpers import run

CONFIG = """
data = ["waves.npz"]
attentions = ["softmax", "bn"]
methods = ["AttentionRidge"]
seeds = 2
[settings.default]
epochs = 1
embed_dim = 8
num_heads = 2
num_layers = 1
feedforward_dim = 8
"""


@pytest.fixture
def config(tmp_path):
    generator = np.random.default_rng(0)
    labels = np.array(["high", "low"] * 12)
    series = np.sin(np.arange(12) * np.where(labels == "high", 2.0, 0.4)[:, None])[:, None]
    np.savez(tmp_path / "waves.npz", X=series + generator.normal(0, 0.1, series.shape), y=labels)
    path = tmp_path / "small.toml"
    path.write_text(CONFIG)
    return path


def _grid(capsys, config, *words):
    return run(capsys, "grid", config, "--out", config.parent / "out", "--jobs", 1, *words)


def test_a_grid_runs_once_is_shown_and_exported(capsys, config, tmp_path):
    code, out, err = _grid(capsys, config)
    assert code == 0
    assert "Mean test accuracy over 1 data set, 2 seeds" in out
    for words in ("softmax", "bn", "AttentionRidge"):
        assert words in out
    assert "6/6" in err
    assert "6 runs to do, " in err
    assert "the same command goes on with those that are missing" in err
    page = tmp_path / "out" / "report.html"
    assert err.rstrip().endswith(f"Report: {page}")
    assert "AttentionRidge" in page.read_text()

    code, out, err = _grid(capsys, config, "--json")
    found = json.loads(out)
    assert "All 6 runs have ended already" in err
    assert (found["runs"], found["finished"], found["failed"]) == (6, 6, [])
    assert found["methods"][0]["accuracy_interval"] is None

    code, out, _ = run(capsys, "results", tmp_path / "out", "--json")
    assert len(json.loads(out)) == 6
    code, out, _ = run(capsys, "results", tmp_path / "out")
    assert "95 % interval" in out
    code, out, _ = run(capsys, "results", tmp_path / "out", "-m", "bn", "--cells")
    assert out.count("waves") == 2
    code, out, err = run(capsys, "results", tmp_path / "out", "--export", tmp_path / "t.md")
    assert (tmp_path / "t.md").read_text().startswith("Test accuracy in percent")
    code, out, _ = run(capsys, "results", tmp_path / "out", "--against", tmp_path / "out", "--json")
    assert [one["difference"]["mean"] for one in json.loads(out)] == [0.0] * 3


def test_failures_are_told_kept_and_tried_again(capsys, config, tmp_path, monkeypatch):
    def broken(self, X, y):
        raise ZeroDivisionError("broken")

    monkeypatch.setattr("primaldual.estimators.AttentionRidgeClassifier.fit", broken)
    code, out, err = _grid(capsys, config)
    assert code == 1
    assert "Failed (error): waves, AttentionRidge, seed 0: broken" in err
    assert "--retry-failed runs these cells again" in err
    assert "ZeroDivisionError: broken" in (tmp_path / "out" / "report.html").read_text()
    _, out, err = run(capsys, "results", tmp_path / "out")
    assert "2 runs failed" in err
    _, out, _ = run(capsys, "results", tmp_path / "out", "--failures")
    assert "ZeroDivisionError: broken" in out
    monkeypatch.undo()
    assert _grid(capsys, config)[0] == 1
    code, out, err = _grid(capsys, config, "--retry-failed")
    assert code == 0
    assert "2/2" in err


BAD = {
    "config": (["grid", "none.toml"], "none.toml cannot be read"),
    "key": (["grid", "key.toml"], "unknown key sedes; did you mean seeds"),
    "data": (["grid", "data.toml"], "2 of 2 data sets cannot be used"),
    "ray": (["grid", "small.toml", "--jobs", "x"], "--jobs"),
    "store": (["results", "nowhere"], "holds no results.sqlite"),
    "collection": (["reproduce", "uae"], "did you mean uea"),
    "published": (["reproduce", "uea", "--published", "none.csv"], "none.csv cannot be read"),
    "protocol": (["reproduce", "uea", "--protocol", "papr"], "--protocol must be one of"),
    "damaged": (["grid", "small.toml", "--out", "damaged"], "is damaged, or no file of results"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_and_exit_code_2(capsys, config, tmp_path, monkeypatch, name):
    words, message = BAD[name]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "key.toml").write_text('data = ["BasicMotions"]\nsedes = 3')
    (tmp_path / "data.toml").write_text('data = ["a.csv", "b.csv"]')
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "results.sqlite").write_text("no database" * 200)
    code, out, err = run(capsys, *words)
    assert (code, out) == (2, "")
    last = err.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert message in last


def test_reproduce_lists_what_is_absent(capsys, tmp_path, monkeypatch):
    shown = {}

    def pretend(grid, folder, *rest):
        shown.update(grid=grid, folder=folder)

    monkeypatch.setattr("primaldual.cli.reproduce.run_grid", pretend)
    code, _, err = run(capsys, "reproduce", "uea", "--data-dir", tmp_path, "--protocol", "paper")
    assert code == 0
    assert "Not on disk: EthanolConcentration" in err
    assert "timeseriesclassification.com" in err
    assert shown["grid"].data == ("JapaneseVowels",)
    assert shown["grid"].protocol == "paper"
    assert "MultiRocketHydra" in shown["grid"].methods
