from __future__ import annotations

import io
import json
import re
import threading

import numpy as np
import pytest
from rich.console import Console
from sklearn.svm import SVR

from primaldual.cli import peer
from primaldual.cli.certificate import Certified, Output
from primaldual.cli.certificate_view import certificate_table
from primaldual.cli.peer import Peer
from primaldual.data import load_table
from primaldual.estimators import AttentionSVR
from tests.cli.helpers import run


@pytest.mark.parametrize("attention", ["softmax", "linear", "bn", "sh(2)", "taylor(2)", "conv(3)+bn"])
def test_the_numbers_agree_with_one_another(capsys, attention):
    words = ["certify", "linnerud", "-a", attention, "-C", 3, "--epsilon", 0.2, "--tolerance", 1e-8, "--json"]
    code, out, _ = run(capsys, *words)
    found = json.loads(out)
    assert code == 0
    assert [output["name"] for output in found["outputs"]] == ["Weight", "Waist", "Pulse"]
    assert found["pairs"] == (10 if attention == "sh(2)" else 20)
    for output in found["outputs"]:
        assert output["relative_gap"] <= 1e-8
        assert output["primal"] == pytest.approx(output["dual"], rel=1e-8)
        assert output["attention_difference"] < 1e-8
        assert 0 <= output["at_bound"] <= output["support"] <= 1
        assert output["peer"]["prediction_difference"] < 1e-3
        assert output["peer"]["relative_gap"] < 1e-3
        assert not output["peer"]["stopped"]


def test_it_is_the_solution_of_the_estimator(capsys):
    table = load_table("diabetes")
    fitted = AttentionSVR(C=2.0, gamma=0.5).fit(table.X[:100], table.Y[:100, 0])
    words = ["certify", "--cases", 100, "-C", 2, "--gamma", 0.5, "--json"]
    found = json.loads(run(capsys, *words)[1])
    assert found["cases"] == 100
    assert found["outputs"][0]["primal"] == pytest.approx(float(fitted.expansion_.primal_objective), rel=1e-6)
    assert found["outputs"][0]["support"] == pytest.approx(len(fitted.support_) / 100)


def test_the_table_says_what_was_solved_and_why_there_is_no_comparison(capsys):
    code, out, _ = run(capsys, "certify", "linnerud", "--no-intercept")
    assert code == 0
    for words in (
        "N = 20 cases, D = 3 features, 3 outputs",
        "no intercept",
        "relative duality gap",
        "Weight",
    ):
        assert words in out
    assert "Not compared with scikit-learn: its SVR always fits an intercept." in " ".join(out.split())
    assert "against scikit-learn" not in out
    assert "against scikit-learn" in run(capsys, "certify", "linnerud")[1]


def test_csv_with_markup_in_its_names(capsys, tmp_path):
    numbers = np.random.default_rng(0).normal(size=(12, 4))
    np.savetxt(tmp_path / "t.csv", numbers, delimiter=",", header="a,b,[red]y,[/]z", comments="")
    code, out, _ = run(capsys, "certify", tmp_path / "t.csv", "--targets", 2)
    assert code == 0
    assert "[red]y" in out
    assert "[/]z" in out


def test_a_tolerance_out_of_reach_is_exit_code_1_with_the_table(capsys):
    code, out, err = run(capsys, "certify", "linnerud", "--tolerance", "1e-30")
    assert code == 1
    assert "relative duality gap" in out
    assert "stopped above the tolerance" in err


def test_one_case_has_nothing_to_explain(capsys):
    assert json.loads(run(capsys, "certify", "--cases", 1, "--json")[1])["outputs"][0]["relative_gap"] == 0


def test_a_limit_of_steps_and_of_cases_for_the_other_solver(capsys, monkeypatch):
    monkeypatch.setattr(peer, "PEER_STEPS", 2)
    assert "(stopped)" in run(capsys, "certify", "linnerud")[1]
    monkeypatch.setattr(peer, "PEER_CASES", 19)
    assert "try --cases" in run(capsys, "certify", "linnerud")[1]


def test_ctrl_c(capsys, monkeypatch):
    def press(*_):
        raise KeyboardInterrupt

    pressed = threading.Event()  # until then the fit goes on, however fast the machine
    monkeypatch.setattr(SVR, "fit", lambda *_: pressed.wait())
    monkeypatch.setattr(peer.threading.Thread, "join", press)
    code, out, err = run(capsys, "certify", "linnerud")
    pressed.set()
    assert (code, out) == (130, "")
    assert err.strip().endswith("Stopped.")


BAD = {
    "data": (["nope"], "'nope' is unknown"),
    "file": (["none.csv"], "does not exist"),
    "penalty": (["-C", "0"], "--penalty must be a number above 0"),
    "epsilon": (["--epsilon", "-1"], "epsilon must be"),
    "gamma": (["--gamma", "0"], "gamma must be"),
    "tolerance": (["--tolerance", "2"], "tolerance must be below 1"),
    "spec": (["-a", "foo"], "unknown part 'foo'"),
    "subset": (["-a", "window(2)"], "window(2)"),
    "queries": (["-a", "conv(3,queries=true)"], "mixes its queries"),
    "cases": (["--cases", "0"], "--cases"),
    "overflow": (["Covid3Month", "-a", "constant"], "scale them down"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_and_exit_code_2(capsys, name):
    words, message = BAD[name]
    code, out, err = run(capsys, "certify", *words)
    assert code == 2
    assert message in err
    assert err.startswith("error: ")
    assert len(err.strip().splitlines()) == 1
    assert out == ""


@pytest.mark.parametrize("outputs", [1, 3, 12])
def test_tables_fit_into_80_columns(outputs):
    other = Peer(1.0, 1.0, 1.0, 1.0, True)
    each = tuple(
        Output(f"t{place}", 123456789.123, -1e-99, 1e-7, 1, 1, 1e-9, other) for place in range(outputs)
    )
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(certificate_table(Certified(each, 5, 1.0, 1.0, True, None), 80))
    text = console.export_text()
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80
    assert ("12 outputs" in text) == (outputs == 12)


def test_zero_has_no_sign(capsys, tmp_path):
    (tmp_path / "flat.csv").write_text("x,y\n" + "".join(f"{number}.5,3\n" for number in range(8)))
    for more in ([], ["--json"]):
        code, out, _ = run(capsys, "certify", tmp_path / "flat.csv", *more)
        assert code == 0
        assert re.search(r"-0(\.0)?\b(?!\.)", out) is None
