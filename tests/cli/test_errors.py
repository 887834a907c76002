from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import time

import numpy as np
import pytest

from primaldual.cli import main
from tests.cli.helpers import TINY, run


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "noise.npz"
    np.savez(path, X=np.random.default_rng(0).normal(size=(20, 1, 6)), y=["a", "b"] * 10)
    return path


@pytest.fixture(scope="module")
def model(source, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "mine"
    main(["train", str(source), "--out", str(folder), *TINY])
    return folder


BAD = {
    "unknown name": (["compare", "JapaneseVowles"], "did you mean JapaneseVowels"),
    "missing file": (["compare", "none.csv"], "none.csv does not exist"),
    "spec": (["compare", "BasicMotions", "-a", "softmax,foo(1"], "foo(1"),
    "scales": (["compare", "BasicMotions", "-a", "sh(1,2)"], "4 heads"),
    "heads": (["compare", "BasicMotions", "--heads", "3"], "--embed-dim must be a multiple of --heads"),
    "epochs": (["compare", "BasicMotions", "--epochs", "0"], "--epochs must"),
    "seeds": (["compare", "BasicMotions", "--seeds", "0"], "--seeds"),
    "no data": (["compare"], "DATA"),
    "no such command": (["compere"], "compere"),
    "data dir": (["compare", "BasicMotions", "--data-dir", "nowhere"], "nowhere is not a folder"),
    "no model": (["evaluate", "nowhere", "BasicMotions"], "nowhere"),
    "split": (["evaluate", "MODEL", "BasicMotions", "--split", "dev"], "train, test, all"),
    "other channels": (["predict", "MODEL", "BasicMotions"], "has 6 channels"),
    "ending": (["predict", "MODEL", "BasicMotions", "--out", "p.txt"], ".csv, .json"),
    "train over": (["train", "BasicMotions", "--out", "file"], "not a saved classifier"),
    "equation": (["equation", "softmax+linear"], "two parts"),
    "word": (["equation", "sofmax"], "did you mean softmax?"),
    "words": (["compare", "BasicMotions", "-a", "bn,lineer"], "did you mean linear?"),
    "explained word": (["explain", "widow(8)"], "did you mean window?"),
    "certified word": (["certify", "-a", "softmx"], "did you mean softmax?"),
    "table": (["certify", "linerud"], "did you mean linnerud?"),
    "targets": (
        ["certify", "linnerud", "--targets", "2"],
        "--targets counts the last columns of a .csv file",
    ),
    "huge spec": (
        ["certify", "-a", "random(1e999)"],
        "num_features must be an integer from 1 to 65536; got inf",
    ),
    "huge grid": (["explain", f"sh(grid=2x{'9' * 400})"], "grid must be (rows, columns), both integers"),
    "no number": (["explain", "random(NaN)"], "num_features must be an integer from 1 to 65536; got nan"),
    "huge order": (["explain", "taylor(99999999999)"], "order must be an integer from 0 to 64"),
    "huge kernel": (["certify", "-a", f"conv({'9' * 400})"], "kernel_size must be an odd integer from 1"),
    "long spec": (["explain", "sh(" + "1," * 10**5 + "1)"], "a spec of at most 10000 characters; got 200005"),
    "twice": (["explain", "bn(beta=1, beta=2)"], "gives beta of bn twice; accepted is one value"),
    "huge sizes": (["explain", "softmax", "--head-dim", "9" * 400], "--head-dim"),
    "one head": (["certify", "-a", "sh"], "it is 'sh(1)'"),
    "two specs": (["train", "BasicMotions", "--out", "m", "-a", "bn,sh"], "--attention must be one spec"),
    "command": (["trainx"], "Did you mean 'train'"),
    "option": (["compare", "BasicMotions", "--seed", "1"], "--seeds"),
    "near file": (["compare", "./filex.csv"], "did you mean file.csv?"),
    "near model": (["evaluate", "fil.csv", "BasicMotions"], "did you mean file.csv?"),
    "no home": (["compare", "~nobody-of-that-name/x.csv"], "has no home folder"),
    "no home of a model": (["evaluate", "~nobody-of-that-name/m", "BasicMotions"], "has no home folder"),
    "columns": (
        ["compare", "BasicMotions", "--case", "id"],
        "--case: only a .csv file has columns to name; BasicMotions is not one",
    ),
    "channels": (["predict", "MODEL", "file.csv", "--channels", ", "], "--channels must name columns"),
    "no split": (["train", "BasicMotions", "--out", "m", "--no-split"], "--no-split is for a file"),
    "json ending": (["predict", "MODEL", "BasicMotions", "--json", "--out", "p.csv"], "--json writes .json"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_exit_code_2_and_leaves_nothing(capsys, model, tmp_path, monkeypatch, name):
    words, message = BAD[name]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "file.csv").write_text("case,time,x\na,0,1\n")
    code, out, err = run(capsys, *[model if word == "MODEL" else word for word in words])
    assert code == 2
    assert message in err
    assert err.startswith("error: ")
    assert len(err.strip().splitlines()) == 1
    assert out == ""
    assert [path.name for path in tmp_path.iterdir()] in (["file", "file.csv"], ["file.csv", "file"])


def test_an_output_folder_that_is_a_file_is_refused_at_once(capsys, source, tmp_path):
    (tmp_path / "file").touch()
    code, _, err = run(capsys, "compare", source, "--out", tmp_path / "file", *TINY)
    assert code == 2
    assert "is a file" in err


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for one process")
def test_ctrl_c_keeps_finished_runs_and_names_the_way_on(source, tmp_path):
    words = [
        "compare",
        str(source),
        "--out",
        str(tmp_path / "out"),
        "-a",
        "softmax",
        "--seeds",
        "60",
        "--jobs",
        "1",
        *TINY,
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "primaldual.cli", *words],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - jobs in the background ignore it
    )
    database = tmp_path / "out" / "results.sqlite"
    deadline = time.monotonic() + 120
    while _finished(database) < 2 and time.monotonic() < deadline:
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    try:
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert out == ""
    finished = _finished(database)
    assert f"Stopped. {finished} of 60 runs are finished and kept in {database}" in err
    assert "primaldual compare" in err.splitlines()[-1]
    assert "Traceback" not in err


def _finished(database):
    if not database.exists():
        return 0
    connection = sqlite3.connect(database)
    try:
        return connection.execute("SELECT COUNT(*) FROM results").fetchone()[0]
    except sqlite3.OperationalError:
        return 0
    finally:
        connection.close()
