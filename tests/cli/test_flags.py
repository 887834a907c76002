from __future__ import annotations

import pytest

from tests.cli.helpers import run


@pytest.mark.parametrize(
    ("words", "flag"),
    [
        (["--learning-rate", "-1"], "--learning-rate must"),
        (["--batch-size", "0"], "--batch-size must"),
        (["--dropout", "2"], "--dropout must"),
        (["--layers", "0"], "--layers must"),
        (["--feedforward-dim", "0"], "--feedforward-dim must"),
        (["--patience", "0"], "--patience must"),
    ],
)
def test_errors_name_the_flag(capsys, tmp_path, words, flag):
    code, _, err = run(capsys, "train", "BasicMotions", "--out", tmp_path / "m", *words)
    assert code == 2
    assert err.splitlines()[-1].startswith(f"error: {flag}")


def test_a_file_called_as_an_option_is_no_option(capsys, tmp_path):
    (tmp_path / "epochs.csv").write_text("case,time,label,x\na,0,u,1\nb,0,u,2\n")
    code, _, err = run(capsys, "train", tmp_path / "epochs.csv", "--out", tmp_path / "m")
    assert (code, err) == (2, "error: epochs: every train label is 'u'; two classes needed\n")
