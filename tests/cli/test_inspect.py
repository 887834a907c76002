from __future__ import annotations

import json
import shutil
import sys

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaModel

import primaldual as pdl
from primaldual.cli import main
from primaldual.cli.inspect import layer_list
from tests.cli.helpers import TINY, run
from tests.tiny_models import save_bert, save_images, save_vit

TIMM = "timm:test_vit"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Models and data of every kind."""
    place = tmp_path_factory.mktemp("inspect")
    save_bert(place / "bert")
    save_bert(place / "wordless", tokenizer=False)
    sizes = {"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 8, "vocab_size": 9}
    LlamaModel(LlamaConfig(num_hidden_layers=1, **sizes)).save_pretrained(place / "llama")
    save_vit(place / "vit")
    save_images(place / "images")
    (place / "texts.txt").write_text(
        "the keys to the table\n\nrain and rain\n<b> is sold\n", encoding="utf-8"
    )
    (place / "latin.txt").write_bytes(b"\xe9 \xff")
    (place / "empty.txt").write_text("\n \n")
    (place / "broken" / "x").mkdir(parents=True)
    (place / "broken" / "x" / "bad.png").write_bytes(b"no image")
    (place / "bare").mkdir()
    (place / "strange").mkdir()
    (place / "strange" / "config.json").write_text('{"architecture": "vit"}')
    (place / "garbled").mkdir()
    (place / "garbled" / "config.json").write_text("{")
    np.savez(place / "waves.npz", X=np.random.default_rng(0).normal(size=(12, 2, 6)), y=["a", "b"] * 6)
    main(["train", str(place / "waves.npz"), "--attention", "bn", "--out", str(place / "waves"), *TINY])
    return place


def inspected(capsys, folder, out, *words):
    code, text, err = run(capsys, "inspect", *words, "--out", out)
    assert code == 0, err
    assert f"Report: {out / 'report.html'}" in err
    assert sorted(path.name for path in out.iterdir()) == ["head_report.json", "report.html"]
    return text, json.loads((out / "head_report.json").read_text()), (out / "report.html").read_text()


def test_texts_through_a_transformers_model(capsys, folder, tmp_path):
    text, numbers, page = inspected(capsys, folder, tmp_path / "out", folder / "bert", folder / "texts.txt")
    assert text.startswith("BertModel: the first 3 of 3 lines of texts.txt")
    for words in ("layer 0  encoder.layer.0.attention.self: softmax", "importance, %", "nearest head", "CKA"):
        assert words in text
    assert max(map(len, text.splitlines()[:-3])) <= 80
    assert [layer["number"] for layer in numbers["layers"]] == [0, 1]
    assert all(value > 0 for layer in numbers["layers"] for value in layer["importance"])
    assert np.shape(numbers["layers"][1]["distances"]) == (4, 4)
    assert numbers["cases"] == 3
    assert "the keys to the table" in page
    assert "primaldual" in numbers["versions"]


def test_layers_without_ablation_as_json(capsys, folder, tmp_path):
    words = [
        "inspect",
        folder / "bert",
        "--cases",
        2,
        "--layers",
        "-1",
        "--no-ablate",
        "--json",
        "--out",
        tmp_path,
    ]
    code, out, _ = run(capsys, *words)
    assert code == 0
    found = json.loads(out)
    assert found["data"].startswith("2 English sentences that come with primaldual")
    assert [layer["path"] for layer in found["layers"]] == ["encoder.layer.1.attention.self"]
    assert found["layers"][0]["importance"] == [None] * 4
    assert found["importance"] is None
    assert found["report"] == str(tmp_path / "report.html")


def test_a_converted_model_is_looked_at_as_it_was_saved(capsys, folder, tmp_path):
    model = pytest.importorskip("transformers").AutoModel.from_pretrained(folder / "bert")
    pdl.convert(model, "bn", layers=0, verbose=False)
    shutil.copytree(folder / "bert", tmp_path / "bert")
    model.save_pretrained(tmp_path / "bert")
    words = "--no-ablate", "--cases", 2
    text, numbers, _ = inspected(capsys, folder, tmp_path / "out", tmp_path / "bert", *words)
    assert [layer["attention"] for layer in numbers["layers"]] == ["bn", "softmax"]
    assert "random" not in text


def test_long_texts_are_cut_and_it_is_said(capsys, folder, tmp_path):
    _, numbers, _ = inspected(capsys, folder, tmp_path / "out", folder / "bert", "--no-ablate", "--cases", 8)
    assert "of them cut to 12 tokens" in numbers["data"]


def test_images_through_a_transformers_model(capsys, folder, tmp_path):
    text, numbers, _ = inspected(
        capsys, folder, tmp_path / "out", folder / "vit", folder / "images", "--cases", 2
    )
    assert text.startswith("ViTModel: 2 of 3 images in images")
    assert "noise" not in text
    assert numbers["layers"][0]["heads"] == 2
    text, _, _ = inspected(capsys, folder, tmp_path / "out", folder / "vit", "--no-ablate")
    assert "noise, 16 times 16 x 16" in text


def test_timm_says_that_weights_are_random_and_reads_a_file(capsys, folder, tmp_path):
    timm = pytest.importorskip("timm")
    text, numbers, page = inspected(
        capsys, folder, tmp_path / "out", TIMM, "--cases", 2, "--layers", "blocks.0.*", "--no-ablate"
    )
    for words in ("weights are random", "inputs are noise"):
        assert words in text
        assert words in page
        assert words in " ".join(numbers["notes"])
    torch.save(timm.create_model(TIMM[5:], num_classes=7).state_dict(), tmp_path / "weights.pth")
    text, numbers, _ = inspected(
        capsys,
        folder,
        tmp_path / "out",
        TIMM,
        folder / "images",
        "--weights",
        tmp_path / "weights.pth",
        "--no-ablate",
    )
    assert "random" not in text
    assert str(tmp_path / "weights.pth") in numbers["origin"]
    assert text.startswith("VisionTransformer: 3 of 3 images")


def test_a_tokenizer_from_another_place(capsys, folder, tmp_path):
    words = [folder / "wordless", folder / "texts.txt", "--tokenizer", folder / "bert"]
    text, _, _ = inspected(capsys, folder, tmp_path / "out", *words)
    assert text.startswith("BertModel: the first 3 of 3 lines of texts.txt")


def test_a_classifier_of_series(capsys, folder, tmp_path):
    text, numbers, _ = inspected(
        capsys, folder, tmp_path / "out", folder / "waves", folder / "waves.npz", "--cases", 5
    )
    assert "5 of 12 series of waves" in text
    assert numbers["layers"][0]["attention"] == "bn"
    assert numbers["layers"][0]["heads"] == 2


BAD = {
    "no model": (["bare"], "holds no model, it has no config.json"),
    "no folder": (["./nowhere"], "there is no such folder"),
    "file": (["texts.txt"], "is a file"),
    "foreign": (["strange"], "names no model_type"),
    "garbled": (["garbled"], "cannot be read"),
    "no tokenizer": (["wordless"], "there is no tokenizer beside it"),
    "no tokenizer to make up": (
        ["llama"],
        "there is no tokenizer beside it; --tokenizer names another place",
    ),
    "tokenizer": (["bert", "--tokenizer", "images"], "tokenizer images: "),
    "tokenizer of images": (
        ["vit", "--tokenizer", "bert"],
        "--tokenizer is for models of texts; vit takes images",
    ),
    "tokenizer of series": (["waves", "waves.npz", "--tokenizer", "bert"], "./waves takes series"),
    "tokenizer of timm": ([TIMM, "--tokenizer", "bert"], "--tokenizer is for models of texts"),
    "no texts": (["bert", "none.txt"], "none.txt cannot be read"),
    "not UTF-8": (["bert", "latin.txt"], "is not UTF-8 text"),
    "empty": (["bert", "empty.txt"], "holds no text"),
    "no images": (["vit", "bare"], "holds no images"),
    "no folder of images": (["vit", "texts.txt"], "is not a folder"),
    "bad image": (["vit", "broken"], "bad.png is not a readable image"),
    "no series": (["waves"], "data must be given"),
    "layers": (["bert", "--layers", "0,7"], "layers has 7; the model has 2 attention layers"),
    "no layers": (["bert", "--layers", ","], "layers must be numbers or patterns"),
    "cases": (["bert", "--cases", "0"], "--cases"),
    "weights": (["bert", "--weights", "w.pth"], "weights go with timm:NAME only"),
    "timm name": (["timm:test_vitt"], "did you mean test_vit"),
    "timm weights": ([TIMM, "--weights", "w.pth"], "there is no such file"),
    "timm other weights": ([TIMM, "--weights", "bert/model.safetensors"], "of the model's parameters"),
    "no attention": (["timm:test_resnet", "--cases", "1"], "ResNet has no supported attention layer"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_exit_code_2_and_leaves_nothing(capsys, folder, tmp_path, monkeypatch, name):
    words, message = BAD[name]
    monkeypatch.chdir(folder)
    before = sorted(folder.iterdir())
    if not words[0].startswith((".", "timm")):
        words = [f"./{words[0]}", *words[1:]]
    code, out, err = run(capsys, "inspect", *words, "--out", tmp_path / "out")
    assert code == 2
    assert message in err
    assert err.startswith("error: ")
    assert len(err.strip().splitlines()) == 1
    assert out == ""
    assert not (tmp_path / "out").exists()
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize(("package", "extra"), [("transformers", "transformers"), ("timm", "vision")])
def test_a_missing_package_is_named_with_its_extra(capsys, folder, tmp_path, monkeypatch, package, extra):
    monkeypatch.setitem(sys.modules, package, None)
    model = TIMM if package == "timm" else folder / "bert"
    code, _, err = run(capsys, "inspect", model, "--out", tmp_path)
    assert code == 2
    assert f'{package} is not installed; get it with: pip install "primaldual[{extra}]"' in err


def test_a_name_that_the_hub_does_not_give_is_one_line_and_asked_once(capsys, tmp_path, monkeypatch):
    asked = []

    def refuse(self, name, **options):
        asked.append(name)
        raise OSError("We couldn't connect to the hub.\nCheck your internet connection.")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", refuse)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vowels").mkdir()
    code, out, err = run(capsys, "inspect", "vowls", "--out", tmp_path / "out")
    assert (code, out, asked) == (2, "", ["vowls"])
    assert err == (
        "error: model vowls: there is no folder of this name, and the Hugging Face hub cannot be reached "
        "(OSError); did you mean vowels?\n"
    )


def test_attention_of_no_known_kind_is_named(capsys, folder, tmp_path, monkeypatch):
    monkeypatch.setattr("primaldual.experiments.inspection.measuring.find_sites", lambda model: [])
    code, _, err = run(capsys, "inspect", folder / "bert", "--out", tmp_path)
    assert code == 2
    assert "BertModel has no supported attention layer; its attention classes: BertAttention" in err


def test_ctrl_c_leaves_nothing(capsys, folder, tmp_path, monkeypatch):
    def stop(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("primaldual.experiments.inspection.inspect_heads", stop)
    code, out, err = run(capsys, "inspect", folder / "bert", "--out", tmp_path / "out")
    assert code == 130
    assert out == ""
    assert err.strip().endswith("Stopped.")
    assert not (tmp_path / "out").exists()


def test_a_comparison_is_not_written_over(capsys, folder, tmp_path):
    (tmp_path / "results.sqlite").touch()
    code, _, err = run(capsys, "inspect", folder / "bert", "--out", tmp_path)
    assert code == 2
    assert "exists and is not an earlier inspection; give a new folder or an empty one" in err


def test_layers_as_numbers_and_patterns():
    assert layer_list(None) is None
    assert layer_list("0,-1, encoder.layer.[01].*") == [0, -1, "encoder.layer.[01].*"]
