from __future__ import annotations

import csv
import io
import json
import signal
import sqlite3
import subprocess
import sys
import time

import numpy as np
import pytest
from rich.console import Console

from primaldual.cli import main
from primaldual.cli.confusion import confusion, confusion_view

TINY = "--epochs 1 --embed-dim 8 --heads 2 --layers 1 --feedforward-dim 8 --batch-size 40".split()  # noqa: SIM905


def run(capsys, *words):
    """Exit code, standard output and standard error of a command."""
    code = 0
    try:
        main([str(word) for word in words])
    except SystemExit as stop:
        code = stop.code
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "waves.npz"
    generator = np.random.default_rng(0)
    labels = np.array(["high", "low"] * 15)
    series = np.sin(np.arange(12) * np.where(labels == "high", 2.0, 0.4)[:, None])[:, None]
    np.savez(path, X=series + generator.normal(0, 0.1, series.shape), y=labels)
    return path


@pytest.fixture(scope="module")
def model(source, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "mine"
    main(
        [
            "train",
            str(source),
            "--attention",
            "bn",
            "--out",
            str(folder),
            *TINY,
            "--epochs",
            "60",
            "--learning-rate",
            "0.02",
        ]
    )
    return folder


def test_compare_writes_results_models_and_report_and_says_where(capsys, source, tmp_path):
    words = [
        "compare",
        source,
        "-a",
        "softmax,sh(1, 2)",
        "-a",
        "bn",
        "--seeds",
        2,
        "--jobs",
        1,
        "--out",
        tmp_path,
    ]
    code, out, err = run(capsys, *words, *TINY)
    assert code == 0
    assert "test accuracy over 2 seeds" in out
    for spec in ("softmax", "sh(1,2)", "bn"):
        assert spec in out
    assert err.rstrip().endswith(f"Report: {tmp_path / 'report.html'}")
    page = (tmp_path / "report.html").read_text()
    assert "waves" in page
    assert len(list((tmp_path / "models").iterdir())) == 6
    with sqlite3.connect(tmp_path / "results.sqlite") as connection:
        assert connection.execute("SELECT COUNT(*) FROM runs").fetchone() == (6,)
    connection.close()

    code, out, err = run(capsys, *words, *TINY, "--json")
    found = json.loads(out)
    assert "6 of 6 runs are finished already" in err
    assert [one["attention"] for one in found["attentions"]] == ["softmax", "sh(1,2)", "bn"]
    assert found["attentions"][0]["difference"] is None
    assert found["attentions"][1]["difference"]["count"] == 2
    assert found["attentions"][0]["total_flops"] > found["attentions"][1]["total_flops"]

    code, _, err = run(capsys, *words, *TINY, "--dropout", "0.3")
    assert code == 2
    assert "dropout 0.1 there, 0.3 now" in err
    assert len(err.strip().splitlines()) == 1


def test_predict_and_evaluate_agree(capsys, source, model, tmp_path):
    code, out, _ = run(capsys, "predict", model, source, "--out", tmp_path / "new" / "p.csv")
    assert code == 0
    assert "30 predictions" in out
    with (tmp_path / "new" / "p.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["predicted"] for row in rows].count("high") > 0
    for row in rows:
        assert float(row["probability_high"]) + float(row["probability_low"]) == pytest.approx(1, abs=1e-5)

    code, out, _ = run(capsys, "evaluate", model, source, "--json")
    found = json.loads(out)
    truth = np.array(["high", "low"] * 15)
    expected = np.mean(truth == np.array([row["predicted"] for row in rows]))
    assert found["accuracy"] == pytest.approx(expected)
    assert np.trace(found["confusion"]) == round(expected * 30)
    assert found["labels"] == ["high", "low"]

    code, out, _ = run(capsys, "predict", model, source, "--json")
    assert [row["predicted"] for row in json.loads(out)] == [row["predicted"] for row in rows]
    code, out, _ = run(capsys, "predict", model, source, "--split", "test")
    assert len(out.splitlines()) == 1 + 8


def test_evaluate_prints_a_confusion_matrix(capsys, source, model):
    code, out, _ = run(capsys, "evaluate", model, source)
    assert code == 0
    for words in ("30 cases", "accuracy", "balanced accuracy", "confusion", "high", "low"):
        assert words in out


def test_train_reads_the_train_part_only(capsys, tmp_path):
    values = np.random.default_rng(0).normal(size=(20, 1, 5))
    poison = np.full((4, 1, 5), np.nan)
    for name, test in (("clean", values[:4]), ("poisoned", poison)):
        np.savez(
            tmp_path / f"{name}.npz",
            X_train=values,
            y_train=["a", "b"] * 10,
            X_test=test,
            y_test=["a", "b"] * 2,
        )
        assert run(capsys, "train", tmp_path / f"{name}.npz", "--out", tmp_path / name, *TINY)[0] == 0
    clean, poisoned = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("clean", "poisoned"))
    assert clean == poisoned


def test_equation_and_presets(capsys):
    assert "T(x)" in run(capsys, "equation", "bn+sh")[1]
    assert r"\frac" in run(capsys, "equation", "bn+sh", "--latex")[1]
    listed = run(capsys, "presets")[1]
    for name in ("softmax", "bn", "sh", "linear", "window"):
        assert name in listed


@pytest.mark.parametrize(
    "command", [[], *[[name] for name in ["compare", "train", "predict", "evaluate", "equation", "presets"]]]
)
def test_help_has_examples(capsys, command):
    code, out, _ = run(capsys, *command, "--help")
    assert code == 0
    assert "$ primaldual" in out


def test_version_and_bare_call(capsys):
    assert run(capsys, "--version")[1].startswith("primaldual ")
    code, out, _ = run(capsys)
    assert code == 0
    assert "compare" in out


BAD = {
    "unknown name": (["compare", "JapaneseVowles"], "did you mean JapaneseVowels"),
    "missing file": (["compare", "none.csv"], "none.csv does not exist"),
    "spec": (["compare", "BasicMotions", "-a", "softmax,foo(1"], "foo(1"),
    "scales": (["compare", "BasicMotions", "-a", "sh(1,2)"], "4 heads"),
    "heads": (["compare", "BasicMotions", "--heads", "3"], "num_heads"),
    "epochs": (["compare", "BasicMotions", "--epochs", "0"], "epochs"),
    "seeds": (["compare", "BasicMotions", "--seeds", "0"], "--seeds"),
    "no data": (["compare"], "DATA"),
    "no such command": (["compere"], "compere"),
    "data dir": (["compare", "BasicMotions", "--data-dir", "nowhere"], "nowhere is not a folder"),
    "no model": (["evaluate", "nowhere", "BasicMotions"], "nowhere"),
    "split": (["evaluate", "MODEL", "BasicMotions", "--split", "dev"], "train, test, all"),
    "channels": (["predict", "MODEL", "BasicMotions"], "has 6 channels"),
    "ending": (["predict", "MODEL", "BasicMotions", "--out", "p.txt"], ".csv, .json"),
    "train over": (["train", "BasicMotions", "--out", "file"], "no saved classifier"),
    "equation": (["equation", "softmax+linear"], "two parts"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_exit_code_2_and_leaves_nothing(capsys, model, tmp_path, monkeypatch, name):
    words, message = BAD[name]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("in the way")
    code, out, err = run(capsys, *[model if word == "MODEL" else word for word in words])
    assert code == 2
    assert message in err
    assert err.startswith("error: ")
    assert len(err.strip().splitlines()) == 1
    assert out == ""
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_an_output_folder_that_is_a_file_is_refused_at_once(capsys, source, tmp_path):
    (tmp_path / "file").touch()
    code, _, err = run(capsys, "compare", source, "--out", tmp_path / "file", *TINY)
    assert code == 2
    assert "is a file" in err


def test_a_wide_confusion_matrix_becomes_a_list_of_mistakes():
    truth = np.array([f"class {number}" for number in range(20)])
    predicted = truth.copy()
    predicted[3] = "class 5"
    for width, expected in ((60, "most frequent mistakes"), (400, "rows are true")):
        console = Console(width=width, record=True, file=io.StringIO())
        console.print(confusion_view(*confusion(truth, predicted), width))
        text = console.export_text()
        assert expected in text
        assert "class 5" in text
        assert "…" not in text


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for one process")
def test_ctrl_c_keeps_finished_runs_and_names_the_way_on(source, tmp_path):
    words = ["compare", str(source), "--out", str(tmp_path / "out"), "-a", "softmax", "--seeds", "400", *TINY]
    process = subprocess.Popen(
        [sys.executable, "-m", "primaldual.cli", *words],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    database = tmp_path / "out" / "results.sqlite"
    deadline = time.monotonic() + 120
    while _finished(database) < 2 and time.monotonic() < deadline:
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    finished = _finished(database)
    assert f"Stopped. {finished} of 400 runs are finished and kept in {database}" in err
    assert "primaldual compare" in err.splitlines()[-1]
    assert "Traceback" not in err


def _finished(database):
    if not database.exists():
        return 0
    connection = sqlite3.connect(database)
    try:
        return connection.execute("SELECT COUNT(*) FROM runs").fetchone()[0]
    except sqlite3.OperationalError:
        return 0
    finally:
        connection.close()
