from __future__ import annotations

import json

import pytest
import torch

import primaldual as pdl
from primaldual.integrations.hf_attention import from_pretrained
from tests.cli.helpers import run
from tests.tiny_models import save_bert


@pytest.fixture
def folder(tmp_path):
    save_bert(tmp_path / "bert")
    (tmp_path / "texts.txt").write_text(
        "the keys to the table on the river\nrain and rain\n", encoding="utf-8"
    )
    return tmp_path


def test_a_transformers_model_is_compressed_and_saved(capsys, folder):
    from transformers import AutoModel

    out = folder / "out"
    words = ["--budget", 0.7, "--measure", "cache", "--lengths", "64,128", "--out", out, "--json"]
    code, text, err = run(capsys, "compress", folder / "bert", folder / "texts.txt", *words)
    assert code == 0, err
    numbers = json.loads(text)
    assert numbers["measure"] == "cache"
    assert numbers["share"] <= 0.7
    assert json.loads((out / "compression.json").read_text()) == numbers
    assert "attention work" in (out / "pareto.svg").read_text()
    again = from_pretrained(AutoModel, out / "model")
    scales = [list(site.problem.subset.scales) for site in pdl.integrations.finding.find_sites(again)]
    assert scales == list(numbers["scales"].values())
    assert again(torch.tensor([[2, 3, 4]])).last_hidden_state.isfinite().all()


def test_the_report_is_printed(capsys, folder):
    code, text, err = run(capsys, "compress", folder / "bert", folder / "texts.txt", "--out", folder / "out")
    assert code == 0, err
    assert "attention work" in text
    assert f"Written: {folder / 'out' / 'model'}" in err


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["--measure", "seconds"], "measure must be one of operations, time, cache"),
        (["--lengths", "64"], "lengths must be None"),
        (["--measure", "time", "--lengths", "long"], "lengths must be whole numbers"),
        (["--budget", 2], "budget must be above 0"),
        (["--attention", "sh(2)"], "..."),
    ],
)
def test_bad_options_are_named(capsys, folder, words, shown):
    code, _, err = run(capsys, "compress", folder / "bert", *words, "--out", folder / "out")
    assert code != 0
    assert shown in " ".join(err.split())
    assert not (folder / "out").exists()
