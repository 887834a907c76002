from __future__ import annotations

import pytest

from primaldual.experiments.code_version import OURS, READING, code_version


@pytest.fixture
def tree(tmp_path, monkeypatch):
    (tmp_path / "part").mkdir()
    file = tmp_path / "part" / "a.py"
    monkeypatch.setattr("primaldual.experiments.code_version.ROOT", tmp_path)
    code_version.cache_clear()
    yield file
    code_version.cache_clear()


def _version(file, text):
    file.write_text(text)
    code_version.cache_clear()
    return code_version(("part",), ("torch",))


def test_code_counts_and_words_about_it_do_not(tree):
    plain = _version(tree, "def f(x):\n    return x + 1\n")
    assert _version(tree, '"""Doc."""\n\n\ndef f(x):\n    """More."""\n    return (x + 1)  # why\n') == plain
    assert _version(tree, "def f(x):\n    return x + 2\n") != plain
    assert "torch" in plain


def test_every_source_is_there():
    assert code_version(OURS, ()) != code_version(READING, ())
