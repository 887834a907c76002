from importlib.metadata import EntryPoint

import pytest

from primaldual.environment.plugins import Plugin, plugins
from primaldual.primal.plugins import GROUP


@pytest.fixture
def offers(monkeypatch):
    entries = [
        EntryPoint("tripled", "no_such_module_here:Tripled", GROUP),
        EntryPoint("bn", "no_such_module_here:Other", GROUP),
    ]
    monkeypatch.setattr("primaldual.primal.plugins.entry_points", lambda group: entries)


def test_a_word_that_does_not_load_has_its_reason_in_one_line(offers):
    [found] = plugins()
    assert (found.word, found.package) == ("tripled", "an unknown package")
    assert "cannot be loaded: ModuleNotFoundError: No module named 'no_such_module_here'" in found.reason
    assert "\n" not in found.reason


def test_words_may_be_listed_without_loading_them(offers):
    assert plugins(load=False) == [Plugin("tripled", "an unknown package")]


@pytest.mark.usefixtures("words_as_before")
def test_what_a_module_prints_is_not_shown(monkeypatch, tmp_path, capsys):
    (tmp_path / "noisy_parts.py").write_text("print('noise')\nraise ImportError('half')")
    monkeypatch.syspath_prepend(tmp_path)
    entries = [EntryPoint("noisy", "noisy_parts:Noisy", GROUP)]
    monkeypatch.setattr("primaldual.primal.plugins.entry_points", lambda group: entries)
    [found] = plugins()
    assert "ImportError: half" in found.reason
    assert capsys.readouterr().out == ""
