"""Converted layers own the projections of what an attention needs of every token, or refuse."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

import primaldual as pdl
from primaldual.errors import UnsupportedError
from primaldual.integrations.saving import load, save


def encoder(layers=2):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
    return nn.TransformerEncoder(layer, layers, enable_nested_tensor=False).eval()


def vit():
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    return timm.create_model("vit_tiny_patch16_224", img_size=32, depth=2, num_classes=3).eval()


MODELS = {
    "torch": (encoder, lambda: torch.randn(2, 7, 16), "layers.0.self_attn"),
    "timm": (vit, lambda: torch.randn(2, 3, 32, 32), "blocks.0.attn"),
}


def converted(kind):
    """A model whose gates have been trained, and an input."""
    make, draw, _ = MODELS[kind]
    model, sample = make(), draw()
    pdl.convert(model, "forget", verbose=False)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "input_proj" in name:
                parameter.normal_(std=0.3)
    return model, sample


@pytest.mark.parametrize("kind", MODELS)
def test_conversion_changes_nothing_and_is_undone(kind):
    make, draw, first = MODELS[kind]
    model, sample = make(), draw()
    before, names = model(sample), list(model.state_dict())
    report = pdl.convert(model, "forget", sample=sample, verbose=False)
    layer = model.get_submodule(first)
    assert report.layers[0].added == sum(p.numel() for p in layer.input_proj.parameters()) > 0
    assert report.change < 1e-5
    assert_close(model(sample), before, rtol=1e-4, atol=1e-5)
    pdl.revert(model)
    assert list(model.state_dict()) == names
    assert_close(model(sample), before)


@pytest.mark.parametrize("kind", MODELS)
def test_gates_are_saved_kept_and_cut(kind, tmp_path):
    model, sample = converted(kind)
    wanted = model(sample)
    save(model, tmp_path / "model.pt")
    assert_close(load(MODELS[kind][0](), tmp_path / "model.pt")(sample), wanted)
    with pdl.capture_attention(model, heads=[0, 2]) as maps:
        model(sample)
    assert_close(maps[0].weights.sum(-1), torch.ones_like(maps[0].weights[..., 0]))
    pdl.convert(model, "forget+bn", layers=[0], verbose=False)
    pdl.convert(model, "forget", layers=[0], verbose=False)
    assert_close(model(sample), wanted)
    pdl.prune_heads(model, {0: [0, 2]})
    assert model.get_submodule(MODELS[kind][2]).input_proj.log_gate.out_features == 2
    pdl.convert(model, "softmax", layers=[1], verbose=False)
    assert sum("input_proj" in name for name in model.state_dict()) == 2
    assert model(sample).isfinite().all()


def test_a_layer_of_ours_gets_its_own_back():
    torch.manual_seed(0)
    layer = pdl.MultiheadAttention(16, 4, attention="forget", batch_first=True)
    nn.init.normal_(layer.input_proj.log_gate.weight)
    inputs = torch.randn(1, 5, 16)
    wanted = layer(inputs, inputs, inputs)[0]
    pdl.convert(layer, "bn", verbose=False)
    assert layer.input_proj is None
    pdl.prune_heads(layer, {0: [1, 3]})
    pdl.revert(layer)
    assert layer.input_proj.log_gate.out_features == 2
    assert wanted.shape == layer(inputs, inputs, inputs)[0].shape


def test_where_tokens_are_not_seen_it_refuses():
    message = "forget needs log_gate of every token, projected from the tokens, and here only queries, keys"
    with pytest.raises(UnsupportedError, match=message):
        pdl.integrations.adapt("forget", 4, 4)
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=4, intermediate_size=16, vocab_size=9
    )
    model = transformers.BertModel(config)
    names = list(model.state_dict())
    with pytest.raises(UnsupportedError, match=message):
        pdl.convert(model, "forget")
    with pytest.raises(UnsupportedError, match=message):
        pdl.integrations.hf_attention.register("forget")
    assert list(model.state_dict()) == names
