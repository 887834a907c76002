from __future__ import annotations

import json

import pytest
from examples import attention_svr


@pytest.fixture(autouse=True)
def small(monkeypatch):
    for name in ("PENALTIES", "TUBES", "WIDTHS"):
        monkeypatch.setattr(attention_svr, name, (0.1,))


def test_every_regressor_is_measured_in_every_fold(tmp_path, capsys):
    attention_svr.main(["linnerud", "--quick", "--out", str(tmp_path / "numbers.json")])
    rows = json.loads((tmp_path / "numbers.json").read_text())["tables"]["linnerud"]
    shown = capsys.readouterr().out
    assert len(rows) == 6
    for name, row in rows.items():
        assert len(row["r2"]) == len(row["rmse"]) == 2
        assert name in shown


@pytest.mark.parametrize("words", [["--folds", "1"], ["--repeats", "0"], ["--out", "nowhere/x.json"]])
def test_bad_options(words, capsys):
    with pytest.raises(SystemExit):
        attention_svr.main(words)
    assert words[0] in capsys.readouterr().err
