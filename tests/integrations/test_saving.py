"""Converted and pruned models of every library, written to a file and loaded into plain ones."""

import copy

import pytest
import timm
import torch
from tests.integrations import torch_models as models
from tests.integrations.hf_models import bert, llama, made, tokens
from torch import nn

import primaldual as pdl
from primaldual.errors import ArgumentError, CheckpointError, UnsupportedError
from primaldual.integrations import load, save
from primaldual.integrations.timm_layers import SquareImage, attention_class
from primaldual.primal.convolutions import Convolution
from primaldual.primal.problem import PrimalProblem


def vit(**options):
    torch.manual_seed(0)
    sizes = {"img_size": 32, "patch_size": 8, "depth": 2, "embed_dim": 48, "num_heads": 4, "num_classes": 5}
    return timm.create_model("vit_tiny_patch16_224", **{**sizes, **options}).eval()


BUILDERS = {
    "torch encoder": (lambda: models.encoder().eval(), models.sequences),
    "timm": (vit, lambda: torch.randn(2, 3, 32, 32)),
    "bert": (lambda: made(bert), lambda: tokens(2, 7)),
    "llama": (lambda: made(llama), lambda: tokens(2, 7)),
}


@torch.no_grad()
def outputs(model, inputs):
    found = model(inputs)
    return found if isinstance(found, torch.Tensor) else found[0]


def moved(model):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return model


@pytest.mark.parametrize("name", BUILDERS)
def test_a_plain_model_becomes_the_one_that_was_saved(name, tmp_path):
    build, inputs = BUILDERS[name]
    model, inputs = build(), inputs()
    pdl.convert(model, "bn(learnable=true)+sh(1,1,2,4)", layers=0, verbose=False)
    pdl.convert(model, "conv(3)", layers=1, heads=[1, 3], verbose=False)
    pdl.prune_heads(model, {0: [2, 3]})
    save(moved(model), tmp_path / "model.pt")
    expected = outputs(model, inputs)
    plain = build()
    assert load(plain, tmp_path / "model.pt") is plain
    assert torch.equal(outputs(plain, inputs), expected)
    assert plain.state_dict().keys() == model.state_dict().keys()
    again = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in again.parameters():
            parameter.zero_()
    assert torch.equal(outputs(load(again, tmp_path / "model.pt"), inputs), expected)


def test_what_was_not_converted_is_saved_and_taken_back(tmp_path):
    model, inputs = models.encoder().eval(), models.sequences()
    save(moved(model), tmp_path / "model.pt")
    other = models.encoder().eval()
    pdl.convert(other, "bn", verbose=False)
    load(other, tmp_path / "model.pt")
    assert type(other.layers[0].self_attn) is nn.MultiheadAttention
    assert torch.equal(outputs(other, inputs), outputs(model, inputs))


def test_layers_that_were_built_by_a_class(tmp_path):
    heads = attention_class("sh(1,2,2,4)", layout=SquareImage(1))
    built, images = moved(vit(attn_layer=heads)), torch.randn(2, 3, 32, 32)
    save(built, tmp_path / "model.pt")
    for other in (vit(), vit(attn_layer=heads)):
        assert torch.equal(outputs(load(other, tmp_path / "model.pt"), images), outputs(built, images))
    save(vit(), tmp_path / "plain.pt")
    with pytest.raises(CheckpointError, match="was built with 'sh"):
        load(built, tmp_path / "plain.pt")


def test_files_that_do_not_fit_change_nothing(tmp_path):
    model, inputs = models.encoder().eval(), models.sequences()
    pdl.convert(model, "bn(learnable=true)", verbose=False)
    save(model, tmp_path / "model.pt")
    torch.save(model.state_dict(), tmp_path / "state.pt")
    (tmp_path / "empty.pt").touch()
    plain = moved(models.encoder().eval())
    before = outputs(plain, inputs)
    for name, words in (("state.pt", "save wrote"), ("empty.pt", "save wrote")):
        with pytest.raises(CheckpointError, match=words):
            load(plain, tmp_path / name)
    content = torch.load(tmp_path / "model.pt")
    layers = content["primaldual"]["layers"]
    eight = {"heads": 8, "kv_heads": 8, "attention": None}
    unreadable = {"heads": 4, "kv_heads": 4, "attention": {"attention": "bm"}}
    for change, words in (
        ({"format": 2}, "format 1; got 2"),
        ({"layers": {"other": {}}}, "attention layers"),
        ({"layers": {path: {} for path in layers}}, "does not fit the model"),
        ({"layers": dict.fromkeys(layers, eight)}, "8 heads"),
        ({"layers": dict.fromkeys(layers, unreadable)}, "bm"),
    ):
        torch.save({**content, "primaldual": {**content["primaldual"], **change}}, tmp_path / "other.pt")
        with pytest.raises(CheckpointError, match=words):
            load(plain, tmp_path / "other.pt")
    state = {**content["state"], "norm.weight": torch.ones(3)}
    torch.save({**content, "state": state}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match=r"1 differ, such as 'norm\.weight'"):
        load(plain, tmp_path / "other.pt")
    assert torch.equal(outputs(plain, inputs), before)
    assert type(plain.layers[0].self_attn) is nn.MultiheadAttention
    with pytest.raises(FileNotFoundError):
        load(plain, tmp_path / "nothing.pt")
    plain.compile()
    with pytest.raises(UnsupportedError, match="loaded before it is compiled"):
        load(plain, tmp_path / "model.pt")


def test_a_name_of_another_format_is_refused(tmp_path):
    with pytest.raises(ArgumentError, match=r"must not end in \.safetensors"):
        save(nn.TransformerEncoderLayer(8, 2), tmp_path / "model.safetensors")
    assert not list(tmp_path.iterdir())


def test_an_attention_without_a_spec_is_not_saved(tmp_path):
    class Own(Convolution):
        name = ""

    model = models.encoder()
    pdl.convert(model, PrimalProblem(transform=Own(3)), layers=1, verbose=False)
    with pytest.raises(CheckpointError, match=r"layers\.1\.self_attn: .*does not rebuild it"):
        save(model, tmp_path / "model.pt")
    assert not (tmp_path / "model.pt").exists()


@pytest.mark.parametrize("spec", ["bn", "sh(1,1,2,4)"])
def test_weights_of_another_attention_are_refused(spec):
    model, same, other, plain = vit(), vit(), vit(), vit()
    pdl.convert(model, spec, verbose=False)
    pdl.convert(same, spec, verbose=False)
    pdl.convert(other, "linear", verbose=False)
    state = moved(model).state_dict()
    same.load_state_dict(state)
    with pytest.raises(RuntimeError, match=r"blocks\.0\.attn\.primaldual_attention"):
        plain.load_state_dict(state)
    with pytest.raises(RuntimeError, match=r"blocks\.0\.attn attends with 'linear' and the weights are of"):
        other.load_state_dict(state)
    other.load_state_dict(vit().state_dict())
    pdl.convert(other, "softmax", verbose=False)
    with pytest.raises(RuntimeError, match="attends with 'softmax' and the weights are of"):
        other.load_state_dict(state)
    plain.load_state_dict(other.state_dict())


@pytest.mark.parametrize("build", [models.encoder, lambda: made(bert)])
def test_weights_of_converted_layers_have_names_that_plain_ones_lack(build):
    model = build()
    pdl.convert(model, "bn(learnable=true)", verbose=False)
    with pytest.raises(RuntimeError, match="Unexpected key"):
        build().load_state_dict(model.state_dict())


def test_weights_of_another_image_size_load():
    small, large = vit(), vit(img_size=64)
    for model in (small, large):
        pdl.convert(model, "sh(1,2,2,4)", verbose=False)
    state = {name: tensor for name, tensor in small.state_dict().items() if name != "pos_embed"}
    assert large.load_state_dict(state, strict=False).missing_keys == ["pos_embed"]
