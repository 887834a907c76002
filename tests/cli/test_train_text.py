from __future__ import annotations

import json

import pytest

from tests.cli.helpers import run
from tests.language.helpers import write_text

TINY = ["--context", 8, "--embed-dim", 8, "--heads", 4, "--layers", 1, "--steps", 4, "--batch-size", 48]


@pytest.fixture
def file(tmp_path):
    return write_text(tmp_path)


def test_a_text_is_trained_on_and_tested_and_a_model_trained_further(capsys, file, tmp_path):
    words = ["train", "text", file, *TINY, "--out", tmp_path / "run"]
    code, out, err = run(capsys, *words)
    assert code == 0
    assert "poem.txt: 756 bytes to train on, 42 to choose the epoch by, 42 to test" in err
    assert "validation perplexity" in err
    assert "perplexity" in out
    assert "Cache of a sequence of 8 tokens: 512 B" in out
    assert (
        f'Continue a text with it: primaldual generate {tmp_path / "run"} --prompt "..."' in out.splitlines()
    )
    code, out, err = run(capsys, *words, "--json")
    assert "Going on after step 4 of 4" in err
    whole = json.loads(out)
    code, out, err = run(capsys, *words, "-a", "bn")
    assert err.splitlines()[-1].endswith("attention softmax there, bn now; give another --out")
    further = [
        "train",
        "text",
        file,
        "--base",
        tmp_path / "run",
        "-a",
        "sh(2)",
        "--kv-heads",
        2,
        "--steps",
        1,
    ]
    code, out, err = run(capsys, *further, "--out", tmp_path / "further", "--json")
    assert code == 0
    assert json.loads(out)["cache_bytes"] < 0.5 * whole["cache_bytes"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere.txt"], "error: text nowhere.txt cannot be read: No such file or directory"),
        (["--tokens", "words"], "error: --tokens must be one of bytes, characters; got 'words'"),
        (["-a", "softmx"], "did you mean softmax"),
        (["-a", "conv2d(3,grid=2x4)"], "error: --attention must decode step by step"),
        (["--context", 800], "error: --context 800 needs 801 tokens or more in the training part"),
        (["--heads", 3], "error: --heads must divide --embed-dim"),
        (["--base", "nowhere"], "error: --context must be left out beside base, whose sizes stay; got 8"),
        (["--device", "nowhere"], "--device 'nowhere' cannot be used"),
    ],
)
def test_errors_are_one_line_and_name_the_flag(capsys, file, tmp_path, words, message):
    given = words if words[0] == "nowhere.txt" else [file, *TINY, *words]
    code, _, err = run(capsys, "train", "text", *given, "--out", tmp_path / "run")
    assert code == 2
    assert message in err.splitlines()[-1]
    assert not list(tmp_path.glob("run/model.safetensors"))


def test_bytes_that_are_no_utf8_are_refused_as_characters(capsys, tmp_path):
    (tmp_path / "text").write_bytes(b"ab\xff" * 300)
    code, _, err = run(capsys, "train", "text", tmp_path / "text", "--tokens", "characters")
    assert code == 2
    assert "is not valid UTF-8 at byte 2" in err
