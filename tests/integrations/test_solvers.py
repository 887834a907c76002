"""Solvers inside models of others: what has no meaning there is refused before anything changes."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

import primaldual as pdl
from primaldual.errors import UnsupportedError


def bert():
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=4, intermediate_size=16, vocab_size=9
    )
    return transformers.BertModel(config).eval(), torch.randint(9, (2, 6))


def llama():
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, intermediate_size=16,
        vocab_size=9, pad_token_id=0,
    )  # fmt: skip
    return transformers.LlamaForCausalLM(config).eval(), torch.randint(1, 9, (2, 6))


def vit():
    timm = pytest.importorskip("timm")
    return timm.create_model("vit_tiny_patch16_224", img_size=32, depth=1, num_classes=3).eval(), None


@pytest.mark.parametrize("make", [bert, vit])
@pytest.mark.parametrize("spec", ["deltanet", "deltaformer"])
def test_a_layer_that_attends_later_tokens_has_no_order(make, spec):
    model, _ = make()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(
        UnsupportedError, match=r"the layer attends later tokens too, and .*delta.* reads the keys in order"
    ):
        pdl.convert(model, spec, verbose=False)
    assert not any(hasattr(module, "problem") for module in model.modules())
    assert model.state_dict().keys() == before.keys()


@pytest.mark.parametrize(
    "spec",
    ["boost(2)", "scaled(0.2)", "boost(2,residual=keys)", "linear+ridge(1)", "rpc(2,1)", "differential(0.2)"],
)
def test_bert_with_padding(spec):
    model, tokens = bert()
    pdl.convert(model, spec, verbose=False)
    mask = torch.tensor([[1] * 6, [1, 1, 1, 1, 0, 0]])
    padded = model(tokens, attention_mask=mask).last_hidden_state
    alone = model(tokens[1:, :4]).last_hidden_state
    assert_close(padded[1:, :4], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "spec", ["boost(2)", "scaled(0.2)", "rpc(2,1)", "deltanet(0.5)", "deltaformer", "linear+ridge(1)"]
)
def test_a_causal_model_sees_no_later_token(spec):
    model, tokens = llama()
    pdl.convert(model, spec, verbose=False)
    whole = model(tokens, use_cache=False).logits
    for end in (1, 3):
        assert_close(model(tokens[:, :end], use_cache=False).logits, whole[:, :end], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("spec", ["boost(2)", "scaled(0.2)", "rpc(2,1)", "deltanet(0.5)"])
def test_a_cache_of_keys_does_not_hold_what_a_nested_solver_needs(spec):
    model, tokens = llama()
    pdl.convert(model, spec, verbose=False)
    with pytest.raises(UnsupportedError, match=r"needs the whole sequence; got 1 queries .* use_cache=False"):
        model.generate(tokens, max_new_tokens=3, do_sample=False)
    found = model.generate(tokens, max_new_tokens=3, do_sample=False, use_cache=False)
    assert found.shape == (2, 9)


@pytest.mark.parametrize("spec", ["linear+ridge(1)", "differential(0.2)"])
def test_what_attends_from_queries_alone_generates_with_a_cache(spec):
    model, tokens = llama()
    pdl.convert(model, spec, verbose=False)
    options = {"max_new_tokens": 3, "do_sample": False}
    assert_close(model.generate(tokens, **options), model.generate(tokens, use_cache=False, **options))


def test_torch_layers_tell_the_order_by_their_mask():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 4, 16, batch_first=True)
    model = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False).eval()
    pdl.convert(model, "deltanet(0.5)", verbose=False)
    inputs, mask = torch.randn(2, 5, 16), nn.Transformer.generate_square_subsequent_mask(5)
    causal = model(inputs, mask=mask, is_causal=True)
    assert_close(model(inputs, mask=mask), causal)
    assert_close(model(inputs[:, :3], mask=mask[:3, :3]), causal[:, :3], rtol=1e-4, atol=1e-5)
    with pytest.raises(UnsupportedError, match="reads the keys in order"):
        model(inputs)


def test_boosting_with_residuals_at_queries_in_cross_attention():
    torch.manual_seed(0)
    model = nn.TransformerDecoderLayer(16, 4, 16, batch_first=True)
    with pytest.raises(
        UnsupportedError, match=r"multihead_attn: the layer attends .* where 'boost\(2\)' is undefined"
    ):
        pdl.convert(model, "boost(2)", verbose=False)
    assert type(model.self_attn) is nn.MultiheadAttention
    pdl.convert(model, "boost(2,residual=keys)", verbose=False)
