from __future__ import annotations

import io
import json
import sys

import numpy as np
import pytest

from primaldual.cli import main
from primaldual.cli.screen import Screen, visible, words
from tests.cli.helpers import TINY, run

LABELS = ["[/red]", "[bold]", ":smile:", "a\x1b[31mb", "Łódź"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("names") / "[odd]"
    folder.mkdir()
    X = np.random.default_rng(0).normal(size=(20, 1, 6))
    np.savez(folder / "[bold]data[x].npz", X=X, y=LABELS * 4)
    main(["train", str(folder / "[bold]data[x].npz"), "--out", str(folder / "m"), *TINY])
    return folder / "m"


def test_labels_and_names_appear_as_they_are(capsys, model):
    source = model.parent / "[bold]data[x].npz"
    code, out, err = run(capsys, "evaluate", model, source)
    assert (code, err) == (0, "")
    for text in ("[bold]data[x]: 20 cases", "[/red]", "[bold]", ":smile:", r"a\x1b[31mb", "Łódź"):
        assert text in out
    assert "\x1b" not in out
    code, out, _ = run(capsys, "predict", model, source, "--json")
    assert {row["predicted"] for row in json.loads(out)} <= set(LABELS)


def test_training_and_comparing_show_names_as_they_are(capsys, model, tmp_path):
    source = model.parent / "[bold]data[x].npz"
    code, _, err = run(capsys, "train", source, "--out", tmp_path / "[red]", *TINY)
    assert code == 0
    assert "[bold]data[x]: training on" in err
    words = ["compare", source, "-a", "softmax", "--seeds", 1, "--jobs", 1, "--out", tmp_path / "[/]", *TINY]
    code, out, err = run(capsys, *words)
    assert code == 0
    assert "[bold]data[x]: test accuracy" in out
    assert "[bold]data[x]: train" in err


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "utf-8"])
def test_every_command_prints_in_every_encoding(model, monkeypatch, encoding):
    source = str(model.parent / "[bold]data[x].npz")
    commands = (
        ["evaluate", str(model), source],
        ["predict", str(model), source],
        ["certify", "linnerud"],
        ["explain", "sh", "-n", "64"],
        ["equation", "bn+sh"],
        ["presets"],
        ["--help"],
    )
    for command in commands:
        streams = {name: io.TextIOWrapper(io.BytesIO(), encoding=encoding) for name in ("stdout", "stderr")}
        for name, stream in streams.items():
            monkeypatch.setattr(sys, name, stream)
        main(command)
        for stream in streams.values():
            stream.flush()
            assert stream.errors == "strict"
        text = streams["stdout"].buffer.getvalue().decode(encoding)
        assert text.strip()
        if command[0] == "evaluate":
            assert ("Łódź" in text) == (encoding == "utf-8")
            assert (r"\u0141\xf3d\u017a" in text) == (encoding == "ascii")


def test_strings_everywhere_are_plain():
    screen = Screen(file=io.StringIO(), width=60, force_terminal=True)
    with screen.status("[red]Loading[/nothing]"):
        screen.print("[/x] :smile: 'quoted' 12", words(("[y]", "bold")))
    assert "[/x] :smile: 'quoted' 12" in screen.file.getvalue()
    assert "[y]" in screen.file.getvalue()
    assert visible("tab\there\nü\u202e") == "tab\there\nü\\u202e"
    assert visible("a\xa0b\u3000🙂") == "a\xa0b\u3000🙂"
