from __future__ import annotations

import csv
import io
import json
import sqlite3

import numpy as np
import pytest
from rich.console import Console

from primaldual.cli import main
from primaldual.cli.confusion import confusion, confusion_view
from tests.cli.helpers import TINY, run


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
    assert ", 1 epoch in " in err
    for spec in ("softmax", "sh(1,2)", "bn"):
        assert spec in out
    assert err.rstrip().endswith(f"Report: {tmp_path / 'report.html'}")
    page = (tmp_path / "report.html").read_text()
    assert "waves" in page
    assert len(list((tmp_path / "models").iterdir())) == 6
    with sqlite3.connect(tmp_path / "results.sqlite") as connection:
        assert connection.execute("SELECT COUNT(*) FROM results").fetchone() == (6,)
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
    "command",
    [
        [],
        *[
            [name]
            for name in [
                "compare",
                "grid",
                "results",
                "reproduce",
                "train",
                "predict",
                "evaluate",
                "inspect",
                "compress",
                "certify",
                "explain",
                "equation",
                "presets",
            ]
        ],
    ],
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
