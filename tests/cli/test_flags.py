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
