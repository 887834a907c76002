import json
from functools import partial
from importlib.metadata import version

import pytest
from benchmarks.performance import Plan, command, run

from tests.performance.fakes import PLAN, footprint


@pytest.fixture
def small(monkeypatch):
    """A small plan in place of the full one, and no child processes."""
    monkeypatch.setattr(run, "peak_gflops", lambda dtype, budget, clock: 50.0)
    monkeypatch.setattr(command, "Runner", partial(run.Runner, footprint=footprint))
    monkeypatch.setattr(command, "full", lambda: PLAN)


def run_command(capsys, *words):
    """Exit code, standard output and standard error."""
    code = 0
    try:
        command.main([str(word) for word in words])
    except SystemExit as stop:
        code = stop.code
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_a_run_writes_results_page_and_figures_and_shows_tables(small, capsys, tmp_path):
    code, out, err = run_command(capsys, "--out", tmp_path, "-s", "sweep", "-s", "goals")
    assert code == 0
    assert {path.name for path in tmp_path.iterdir()} == {
        "performance.json",
        "performance.md",
        "performance_ratio.svg",
        "performance_growth.svg",
    }
    assert "Ratio to SDPA" in out
    assert "goals reached" in out
    assert "performance.json" in err.replace("\n", "")


@pytest.mark.long
def test_json_on_standard_output(small, capsys, tmp_path):
    code, out, _ = run_command(capsys, "--out", tmp_path, "--json", "-s", "sweep")
    assert code == 0
    found = json.loads(out)
    assert found["finished"]
    assert found["machine"]["packages"]["torch"] == version("torch")
    assert found == json.loads((tmp_path / "performance.json").read_text())


@pytest.mark.long
def test_ctrl_c_keeps_and_shows_what_was_measured(small, capsys, tmp_path, monkeypatch):
    (tmp_path / "performance.json").write_text("an earlier run")

    def stop(self, duel):
        raise KeyboardInterrupt

    monkeypatch.setattr(run.Runner, "_duel", stop)
    code, out, err = run_command(capsys, "--out", tmp_path)
    assert code == 130
    assert "Ratio to SDPA" in out
    assert "performance.partial.json" in err
    kept = json.loads((tmp_path / "performance.partial.json").read_text())
    assert len(kept["sweeps"]) == 12
    assert not kept["finished"]
    assert (tmp_path / "performance.json").read_text() == "an earlier run"


BAD = {
    "length": (["--lengths", "0"], "lengths must be 1 or more; got 0"),
    "word": (["--lengths", "long"], "lengths must be whole numbers"),
    "memory": (["--lengths", "100000000"], "lengths must be at most"),
    "format": (["--dtype", "fp16"], "--dtype must be fp32 or bf16; got fp16"),
    "section": (["-s", "speed"], "section must be one of"),
    "both": (["--quick", "--lengths", "64"], "--quick has its own sizes; got it together with --lengths"),
    "threads": (["--threads", "0"], "--threads"),
    "out": (["--out", "file"], "is a file"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_and_leaves_nothing(capsys, tmp_path, monkeypatch, name):
    words, message = BAD[name]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    code, out, err = run_command(capsys, *words)
    assert code == 2
    assert message in err
    assert out == ""
    assert len(err.strip().splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_options_become_a_plan():
    plan = command._plan(False, [], "32,64", "8", 2, True, None, "bf16")
    assert isinstance(plan, Plan)
    assert {sweep.setting.length for sweep in plan.sweeps} == {32, 64}
    assert all(sweep.setting.is_causal and sweep.setting.dtype == "bf16" for sweep in plan.sweeps)


def test_help_has_examples(capsys):
    code, out, _ = run_command(capsys, "--help")
    assert code == 0
    assert "python -m benchmarks.performance --quick" in out
