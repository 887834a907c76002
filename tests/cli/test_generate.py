from __future__ import annotations

import json

import pytest

from primaldual.cli import generate
from primaldual.language import Characters
from tests.cli.helpers import run
from tests.language.helpers import model


@pytest.fixture
def folder(tmp_path):
    model(Characters("\nabc"), attention="sh(1,2,4,4)").save(tmp_path / "model")
    return tmp_path / "model"


def test_it_continues_the_prompt_the_same_every_time(capsys, folder):
    words = ["generate", folder, "--prompt", "ab", "--length", 30, "--seed", 4, "--top-k", 3]
    code, out, err = run(capsys, *words)
    assert (code, err) == (0, "")
    assert out.startswith("ab")
    assert len(out) == 2 + 30 + 1
    found = json.loads(run(capsys, *words, "--json")[1])
    assert out == "ab" + found["text"] + "\n"
    assert found["cache_bytes"] == model(Characters("\nabc"), attention="sh(1,2,4,4)").cache_bytes()
    assert run(capsys, *words, "--seed", 5)[1] != out


def test_characters_come_as_they_are_drawn(monkeypatch, capsys, folder):
    shown = []
    monkeypatch.setattr(generate, "print", lambda *words, **options: shown.append(words), raising=False)
    run(capsys, "generate", folder, "--prompt", "a", "--length", 5)
    assert [len(words[0]) for words in shown[:-1]] == [1] * 6


def test_help_has_examples(capsys):
    code, out, _ = run(capsys, "generate", "--help")
    assert code == 0
    assert 'primaldual generate runs/poems --prompt "The" --temperature 0 --json' in " ".join(out.split())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--prompt", "xyz"], "error: --prompt has 3 characters that the model does not know: 'x', 'y', 'z'"),
        (["--prompt", ""], "error: --prompt must have one token or more; got none"),
        (["--prompt", "a", "--temperature", "-1"], "error: --temperature must be a finite number"),
        ([], "Missing option '--prompt'"),
    ],
)
def test_errors_are_one_line_and_name_the_flag(capsys, folder, words, message):
    code, out, err = run(capsys, "generate", folder, *words)
    assert (code, out) == (2, "")
    assert message in err.splitlines()[-1]


def test_a_folder_without_a_model_is_refused(capsys, tmp_path):
    code, _, err = run(capsys, "generate", tmp_path, "--prompt", "a")
    assert code == 2
    assert "holds no trained language model" in err
