from __future__ import annotations

import pytest

from tests.cli.helpers import run


@pytest.mark.parametrize("words", [["train", "--help"], ["train", "series", "-h"]])
def test_series_need_no_word(capsys, words):
    code, out, _ = run(capsys, *words)
    assert code == 0
    assert "--no-split" in out
    for other in ("images", "lra", "text"):
        assert f"primaldual train {other} --help" in out


def test_other_kinds_go_by_their_word(capsys):
    code, out, _ = run(capsys, "train", "images", "--help")
    assert code == 0
    assert "--skip-bad" in out
    assert "torchrun" in out


def test_options_may_stand_before_the_file(capsys, tmp_path):
    code, _, err = run(capsys, "train", "--out", tmp_path / "m", tmp_path / "no.csv")
    assert code == 2
    assert "no.csv" in err


def test_errors_name_the_flags_of_the_command_that_was_meant(capsys, tmp_path):
    for words in (["train"], ["train", "series"]):
        code, _, err = run(capsys, *words, "BasicMotions", "--batch-size", 0, "--out", tmp_path / "m")
        assert code == 2
        assert "--batch-size must" in err
