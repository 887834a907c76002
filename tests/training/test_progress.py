from primaldual.training import ProgressBar
from primaldual.training import progress as module
from tests.training.helpers import toy_run


def test_a_short_run_stays_quiet(capsys):
    toy_run([ProgressBar()], epochs=2)
    assert "training" not in capsys.readouterr().err


def test_a_long_run_shows_epochs_loss_and_metric(capsys, monkeypatch):
    monkeypatch.setattr(module, "DELAY", 0.0)
    toy_run([ProgressBar()], epochs=2)
    shown = capsys.readouterr().err
    assert "2/2" in shown
    assert "loss=" in shown
    assert "validation=" in shown


def test_a_resumed_bar_starts_where_the_run_does(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "DELAY", 0.0)
    toy_run((), tmp_path, epochs=3)
    toy_run([ProgressBar()], tmp_path, epochs=3)
    assert "3/3" in capsys.readouterr().err
