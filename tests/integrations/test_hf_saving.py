"""Converted models saved by transformers, and built again."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.integrations.hf_models import bart, bert, llama, logits, made, tokens, vit
from tests.integrations.test_hf_models import images
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    BartForConditionalGeneration,
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    CLIPConfig,
    CLIPModel,
    LlamaForCausalLM,
    PreTrainedModel,
    ViTModel,
)

from primaldual.errors import CheckpointError
from primaldual.integrations.conversion import convert, revert
from primaldual.integrations.finding import find_sites
from primaldual.integrations.hf_attention import from_pretrained
from primaldual.primal.convolutions import Convolution
from primaldual.primal.problem import PrimalProblem


def classifier(**settings: Any) -> BertForSequenceClassification:
    sizes = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 48, "vocab_size": 50}
    return BertForSequenceClassification(BertConfig(**sizes, num_hidden_layers=3, **settings))


def clip() -> CLIPConfig:
    """Words and images, each with a config of its own."""
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    words = {
        "vocab_size": 60,
        "max_position_embeddings": 16,
        "eos_token_id": 2,
        "bos_token_id": 1,
        "pad_token_id": 0,
    }
    return CLIPConfig(
        text_config={**sizes, **words},
        vision_config={**sizes, "image_size": 16, "patch_size": 4},
        projection_dim=16,
    )


def moved(model: PreTrainedModel) -> PreTrainedModel:
    """The model with what is learned off its start."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".problem." in name:
                parameter.add_(torch.randn_like(parameter), alpha=0.3)
    return model


def mixed() -> PreTrainedModel:
    """Another attention in every layer, in some heads, and with heads cut out."""
    model = made(classifier)
    convert(model, "bn(learnable=true)+sh(1,1,2,4)", layers=0, verbose=False)
    convert(model, "conv(3)", layers=1, heads=[1, 3], verbose=False)
    convert(model, "random(16)", layers=2, verbose=False)
    sites = find_sites(model)
    sites[0].prune([0, 2, 3])
    sites[0].prune([0, 2])
    sites[2].prune([1])
    return moved(model)


def edited(folder: Path, **changes: Any) -> Path:
    """A folder whose config has another entry."""
    file = folder / "config.json"
    config = json.loads(file.read_text())
    config["primaldual"] = {**config["primaldual"], **changes}
    file.write_text(json.dumps(config))
    return folder


def test_mixed_models_come_back_bit_for_bit(tmp_path: Path) -> None:
    model = mixed()
    model.save_pretrained(tmp_path)
    ids = tokens(2, 7)
    expected = logits(model, ids)
    for kind in (BertForSequenceClassification, AutoModelForSequenceClassification):
        loaded = from_pretrained(kind, tmp_path)
        assert type(loaded) is BertForSequenceClassification
        assert not loaded.training
        assert torch.equal(logits(loaded, ids), expected)
        assert loaded.config.primaldual == model.config.primaldual
        assert loaded.state_dict().keys() == model.state_dict().keys()
    assert [site.heads for site in find_sites(loaded)] == [2, 4, 1]
    loaded.save_pretrained(tmp_path / "again")
    assert torch.equal(
        logits(from_pretrained(BertForSequenceClassification, tmp_path / "again"), ids), expected
    )


def test_the_model_without_its_head_comes_back_too(tmp_path: Path) -> None:
    model = mixed()
    model.save_pretrained(tmp_path)
    loaded = from_pretrained(AutoModel, tmp_path)
    assert type(loaded) is BertModel
    assert torch.equal(logits(loaded, tokens(2, 7)), logits(model.bert, tokens(2, 7)))


def test_running_statistics_come_back_and_stay_precise(tmp_path: Path) -> None:
    model = made(llama)
    convert(model, "bn(running=true)", verbose=False)
    model.train()
    logits(model, tokens(3, 9))
    model.eval().save_pretrained(tmp_path)
    expected = logits(model, tokens(2, 7))
    assert torch.equal(logits(from_pretrained(AutoModelForCausalLM, tmp_path), tokens(2, 7)), expected)
    half = from_pretrained(LlamaForCausalLM, tmp_path, dtype=torch.bfloat16)
    assert half.dtype == torch.bfloat16
    found = {tensor.dtype for name, tensor in half.named_buffers() if "running" in name}
    assert found == {torch.float32}


def test_vision_models_keep_their_grid(tmp_path: Path) -> None:
    model = made(vit)
    convert(model, "conv2d(3)", layers=0, verbose=False)
    convert(model, "bn+sh", layers=1, verbose=False)
    moved(model).save_pretrained(tmp_path)
    loaded = from_pretrained(ViTModel, tmp_path, add_pooling_layer=False)
    with torch.no_grad():
        expected = model(images()).last_hidden_state
        assert torch.equal(loaded(images()).last_hidden_state, expected)


def test_encoders_and_decoders_keep_their_own_layers(tmp_path: Path) -> None:
    model = made(bart)
    convert(model, "conv(3)", layers="*decoder.layers.1.self_attn", verbose=False)
    convert(model, "bn(learnable=true)", layers="*encoder.layers.0.self_attn", verbose=False)
    moved(model).save_pretrained(tmp_path)
    loaded = from_pretrained(BartForConditionalGeneration, tmp_path)
    given = {"input_ids": tokens(2, 6), "decoder_input_ids": tokens(2, 5)}
    with torch.no_grad():
        assert torch.equal(loaded(**given).logits, model(**given).logits)


def test_models_of_two_kinds_keep_each_its_own(tmp_path: Path) -> None:
    model = made(lambda: CLIPModel(clip()))
    given = {"input_ids": tokens(2, 7).index_fill(1, torch.tensor(6), 2), "pixel_values": images()}
    convert(model, "bn+sh", layers="vision*", verbose=False)
    assert model.text_model.config._attn_implementation == "sdpa"
    convert(model, "conv(3)+bn", layers="text*", verbose=False)
    find_sites(model)[0].prune([0, 3])
    moved(model).save_pretrained(tmp_path)
    loaded = from_pretrained(CLIPModel, tmp_path)
    with torch.no_grad():
        assert torch.equal(loaded(**given).logits_per_image, model(**given).logits_per_image)
    revert(model, "text*")
    implementations = [part.config._attn_implementation for part in (model.text_model, model.vision_model)]
    assert implementations == ["sdpa", "primaldual"]


@pytest.mark.parametrize("settings", [{}, {"attn_implementation": "sdpa"}], ids=str)
def test_transformers_alone_refuses_what_was_converted(tmp_path: Path, settings: dict[str, str]) -> None:
    model = made(bert)
    convert(model, "bn(learnable=true)", layers=0, verbose=False)
    model.save_pretrained(tmp_path)
    for kind in (AutoModel, BertModel):
        with pytest.raises(CheckpointError, match=r"hf_attention\.from_pretrained"):
            kind.from_pretrained(tmp_path, **settings)
    with pytest.raises(CheckpointError, match=r"hf_attention\.from_pretrained"):
        BertModel(model.config)
    loaded = from_pretrained(AutoModel, tmp_path)
    assert torch.equal(logits(loaded, tokens(2, 5)), logits(model, tokens(2, 5)))
    revert(loaded)
    assert loaded.config._attn_implementation == "sdpa"
    loaded.save_pretrained(tmp_path / "plain")
    plain = AutoModel.from_pretrained(tmp_path / "plain")
    assert torch.equal(logits(plain, tokens(2, 5)), logits(loaded, tokens(2, 5)))
    assert not {"primaldual", "attn_implementation"} & set(
        json.loads((tmp_path / "plain/config.json").read_text())
    )


ELSEWHERE = """
import sys
import primaldual
from transformers import CLIPModel
try:
    CLIPModel.from_pretrained(sys.argv[1])
except ValueError as error:
    assert "primaldual" in str(error), error
else:
    raise SystemExit("loaded as plain softmax")
"""


def test_a_process_that_never_converted_refuses_too(tmp_path: Path) -> None:
    model = made(lambda: CLIPModel(clip()))
    convert(model, "bn", layers=0, verbose=False)
    model.save_pretrained(tmp_path)
    run = [sys.executable, "-W", "ignore", "-c", ELSEWHERE, str(tmp_path)]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_cut_models_come_back_without_a_conversion(tmp_path: Path) -> None:
    model = made(llama)
    find_sites(model)[1].prune([2, 3])
    model.save_pretrained(tmp_path)
    loaded = from_pretrained(LlamaForCausalLM, tmp_path)
    assert torch.equal(logits(loaded, tokens(2, 5)), logits(model, tokens(2, 5)))
    assert loaded.config._attn_implementation == "sdpa"


def test_a_folder_that_was_never_converted(tmp_path: Path) -> None:
    made(bert).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="does not"):
        from_pretrained(BertModel, tmp_path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": 2}, "format 2"),
        ({"colour": "blue"}, "colour"),
        ({"layers": 3}, "layers by path"),
        ({"layers": {"encoder.layer.9.attention.self": {"attention": "bn"}}}, "layer.9"),
        ({"layers": {"encoder.layer.0.output": {"attention": "bn"}}}, "no attention layer"),
        ({"layers": {"encoder.layer.0.attention.self": {"attention": "wrong"}}}, "wrong"),
        ({"layers": {"encoder.layer.0.attention.self": {"attention": 3}}}, "must be a spec"),
        ({"layers": {"encoder.layer.0.attention.self": "bn"}}, "cannot be read"),
        ({"layers": {"encoder.layer.0.attention.self": {"attention": "sh(1,2)"}}}, "scales"),
        (
            {"layers": {"encoder.layer.0.attention.self": {"groups": [{"attention": "bn", "heads": [7]}]}}},
            "once",
        ),
        ({"pruned": {"encoder.layer.0.attention.self": [9]}}, "among 0 to 3"),
        ({"pruned": {"encoder.layer.0.attention.self": "all"}}, "must list"),
    ],
)
def test_a_corrupt_entry_is_said_to_be_one(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    model = made(bert)
    convert(model, "bn", verbose=False)
    model.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=words):
        from_pretrained(BertModel, edited(tmp_path, **changes))


def test_a_problem_without_a_spec_cannot_come_back(tmp_path: Path) -> None:
    class Own(Convolution):
        name = ""

    model = made(bert)
    convert(model, PrimalProblem(transform=Own(3)), verbose=False)
    model.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="does not rebuild it"):
        from_pretrained(BertModel, tmp_path)
