"""The layer in torch's place: results, masks, weights of others, encoders."""

import copy
import itertools

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from primaldual import MultiheadAttention, preset
from primaldual.errors import ArgumentError, CheckpointError, ShapeError, UnsupportedError
from tests.contract_specs import SPECS
from tests.quick import one_in

LAYER_SPECS = [
    spec
    for spec in SPECS
    if not any(word in spec for word in ("constant", "random", "taylor", "delta", "elliptical", "gated"))
]


def twins(**options):
    torch.manual_seed(0)
    theirs = nn.MultiheadAttention(16, 4, **options).eval()
    nn.init.normal_(theirs.in_proj_bias) if theirs.in_proj_bias is not None else None
    ours = MultiheadAttention(16, 4, **options).eval()
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.filterwarnings("ignore:Support for mismatched")
def test_equals_torch(batch_first, average, is_causal):
    theirs, ours = twins(batch_first=batch_first)
    inputs = torch.randn(3, 5, 16)
    batch, length = (3, 5) if batch_first else (5, 3)
    padding = torch.zeros(batch, length, dtype=torch.bool)
    padding[0, -1] = True
    pattern = nn.Transformer.generate_square_subsequent_mask(length)
    for key_padding_mask in (None, padding):
        for attn_mask in (None, pattern, pattern < 0, (pattern < 0).expand(batch * 4, -1, -1)):
            if is_causal and (attn_mask is None or attn_mask.dim() == 3):
                continue
            options = {
                "key_padding_mask": key_padding_mask,
                "attn_mask": attn_mask,
                "is_causal": is_causal,
                "average_attn_weights": average,
            }
            if is_causal:
                options["attn_mask"] = pattern < 0
            wanted, wanted_map = theirs(inputs, inputs, inputs, **options)
            found, found_map = ours(inputs, inputs, inputs, **options)
            assert_close(found, wanted, rtol=1e-5, atol=1e-6)
            assert_close(found_map, wanted_map, rtol=1e-5, atol=1e-6)
            assert ours(inputs, inputs, inputs, **options, need_weights=False)[1] is None


def test_cross_attention_widths_and_no_batch():
    torch.manual_seed(0)
    theirs = nn.MultiheadAttention(16, 4, kdim=6, vdim=10, bias=False)
    ours = MultiheadAttention(16, 4, kdim=6, vdim=10, bias=False)
    ours.load_state_dict(theirs.state_dict())
    query, key, value = torch.randn(3, 16), torch.randn(7, 6), torch.randn(7, 10)
    for found, wanted in zip(ours(query, key, value), theirs(query, key, value), strict=True):
        assert_close(found, wanted)


def test_gradients_equal_torch():
    theirs, ours = twins(batch_first=True)
    inputs = torch.randn(2, 7, 16)
    for layer in (theirs, ours):
        layer(inputs, inputs, inputs, need_weights=False)[0].square().sum().backward()
    packed = torch.cat([ours.q_proj.weight.grad, ours.k_proj.weight.grad, ours.v_proj.weight.grad])
    assert_close(packed, theirs.in_proj_weight.grad, rtol=1e-4, atol=1e-5)
    assert_close(ours.out_proj.weight.grad, theirs.out_proj.weight.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("spec", "kv_heads", "is_causal"), one_in(5, itertools.product(LAYER_SPECS, (4, 2, 1), (False, True)))
)
def test_pooling_before_projecting_changes_nothing(spec, kv_heads, is_causal):
    torch.manual_seed(0)
    layer = MultiheadAttention(24, 4, attention=spec, kv_heads=kv_heads, batch_first=True).double()
    inputs = torch.randn(2, 11, 24, dtype=torch.float64)
    padding = torch.arange(11) >= torch.tensor([11, 6])[:, None]
    for key_padding_mask in (None, padding):
        out, maps = layer(
            inputs, inputs, inputs, key_padding_mask, average_attn_weights=False, is_causal=is_causal
        )
        heads = [
            projection(inputs).unflatten(-1, (-1, 6)).transpose(1, 2)
            for projection in (layer.q_proj, layer.k_proj, layer.v_proj)
        ]
        mask = None if key_padding_mask is None else ~padding[:, None, None]
        inputs_by_name = layer.problem.neutral_inputs(*heads)
        mixed = layer.problem.dense(*heads, mask=mask, is_causal=is_causal, inputs=inputs_by_name)
        assert_close(out, layer.out_proj(mixed.transpose(1, 2).flatten(2)))
        values = heads[2].repeat_interleave(4 // kv_heads, 1)
        assert_close(maps @ values, mixed)


def test_wrapped_projections_are_called_whole():
    """A projection that is not a plain nn.Linear (LoRA, quantised) is called, not cut."""

    class Wrapped(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner, self.in_features, self.calls = inner, inner.in_features, 0

        def forward(self, inputs):
            self.calls += 1
            return 2 * self.inner(inputs)

    layer = MultiheadAttention(16, 4, attention="sh(1,1,2,4)", batch_first=True, bias=False)
    plain = copy.deepcopy(layer)
    layer.v_proj = Wrapped(layer.v_proj)
    inputs = torch.randn(2, 9, 16)
    assert_close(layer(inputs, inputs, inputs)[0], 2 * plain(inputs, inputs, inputs)[0])
    assert layer.v_proj.calls > 0


def test_loads_timm_and_transformers_weights():
    _, ours = twins(batch_first=True)
    state = ours.state_dict()
    packed = {
        kind: torch.cat([state[f"{name}_proj.{kind}"] for name in "qkv"]) for kind in ("weight", "bias")
    }
    out = {kind: state[f"out_proj.{kind}"] for kind in ("weight", "bias")}
    timm = {f"qkv.{kind}": packed[kind] for kind in packed} | {f"proj.{kind}": out[kind] for kind in out}
    names = {"q_proj": "self.query", "k_proj": "self.key", "v_proj": "self.value", "out_proj": "output.dense"}
    bert = {f"{names[key.split('.')[0]]}.{key.split('.')[1]}": value for key, value in state.items()}
    llama = {key.replace("out_proj", "o_proj"): value for key, value in state.items()}
    for other in (timm, bert, llama):
        fresh = MultiheadAttention(16, 4)
        fresh.load_state_dict(other)
        assert_close(fresh.state_dict(), state)
    with pytest.raises(CheckpointError, match=r"qkv\.weight must have 32 rows for this layer; got 48"):
        MultiheadAttention(16, 4, kv_heads=2).load_state_dict(timm)


def test_loads_nested_in_a_model():
    model = nn.ModuleDict({"attn": nn.MultiheadAttention(16, 4), "norm": nn.LayerNorm(16)})
    ours = nn.ModuleDict({"attn": MultiheadAttention(16, 4, attention="bn"), "norm": nn.LayerNorm(16)})
    ours.load_state_dict(model.state_dict())
    assert_close(ours["attn"].k_proj.weight, model["attn"].in_proj_weight[16:32])


@pytest.mark.parametrize("spec", ["softmax", "bn", "bn+sh(1,1,2,4)", "linear", "window(2)"])
def test_inside_torch_encoder_train_equals_eval(spec):
    """The encoder's fused inference path must not replace our attention by softmax."""
    torch.manual_seed(0)
    block = nn.TransformerEncoderLayer(16, 4, 32, dropout=0.0, batch_first=True)
    block.self_attn = MultiheadAttention(16, 4, attention=spec, batch_first=True)
    encoder = nn.TransformerEncoder(block, 2, enable_nested_tensor=False)
    inputs = torch.randn(3, 9, 16)
    padding = torch.arange(9) >= torch.tensor([9, 5, 7])[:, None]
    for mask in (None, padding):
        trained = encoder.train()(inputs, src_key_padding_mask=mask)
        with torch.no_grad():
            evaluated = encoder.eval()(inputs, src_key_padding_mask=mask)
        kept = slice(None) if mask is None else ~mask
        assert_close(evaluated[kept], trained[kept], rtol=1e-5, atol=1e-6)
        by_hand = inputs
        for layer in encoder.layers:
            heads = [
                projection(by_hand).unflatten(-1, (4, 4)).transpose(1, 2)
                for projection in (layer.self_attn.q_proj, layer.self_attn.k_proj, layer.self_attn.v_proj)
            ]
            dense = preset(spec).dense(*heads, mask=None if mask is None else ~mask[:, None, None])
            by_hand = layer.norm1(by_hand + layer.self_attn.out_proj(dense.transpose(1, 2).flatten(2)))
            by_hand = layer.norm2(by_hand + layer.linear2(layer.linear1(by_hand).relu()))
        assert_close(evaluated[kept], by_hand[kept], rtol=1e-4, atol=1e-5)


def test_nan_padding_reaches_neither_outputs_nor_weight_gradients():
    layer = MultiheadAttention(16, 4, attention="bn+sh(1,1,2,4)", batch_first=True)
    inputs = torch.randn(2, 8, 16)
    padding = torch.arange(8) >= torch.tensor([8, 5])[:, None]
    clean = layer(inputs, inputs, inputs, padding)[0]
    spoiled = inputs.masked_fill(padding[..., None], torch.nan)
    out = layer(spoiled, spoiled, spoiled, padding)[0]
    assert_close(out[~padding], clean[~padding])
    out[~padding].sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in layer.parameters())


def test_dropout_only_in_training():
    layer = MultiheadAttention(16, 4, dropout=0.5, attention="bn", batch_first=True)
    inputs = torch.randn(2, 8, 16)
    first, second = (layer(inputs, inputs, inputs, need_weights=False)[0] for _ in range(2))
    assert not torch.equal(first, second)
    layer.eval()
    assert_close(layer(inputs, inputs, inputs)[0], layer(inputs, inputs, inputs)[0], rtol=0, atol=0)


def test_device_dtype_and_random_features_follow():
    layer = MultiheadAttention(16, 4, attention="random(8)", dtype=torch.float64)
    assert {tensor.dtype for tensor in layer.state_dict().values()} == {torch.float64}
    assert "problem.feature_map.directions" in layer.state_dict()
    assert MultiheadAttention(16, 4, device="meta").q_proj.weight.is_meta


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"embed_dim": 10, "num_heads": 4},
            ArgumentError,
            "num_heads must divide embed_dim; got embed_dim 10 and num_heads 4",
        ),
        ({"kv_heads": 3}, ArgumentError, "kv_heads must divide num_heads; got num_heads 4 and kv_heads 3"),
        ({"dropout": 1.5}, ArgumentError, "dropout must be at least 0 and below 1; got 1.5"),
        ({"attention": "sh(1,2)"}, ArgumentError, "one for each of the 4 heads; got 2"),
        ({"attention": "nope"}, ValueError, "unknown part 'nope'"),
        ({"add_bias_kv": True}, UnsupportedError, "add_bias_kv and add_zero_attn must be False"),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        MultiheadAttention(**({"embed_dim": 16, "num_heads": 4} | arguments))


def test_bad_inputs():
    layer = MultiheadAttention(16, 4, batch_first=True)
    inputs = torch.randn(2, 5, 16)
    with pytest.raises(ShapeError, match=r"query must be \(\[batch,\] length, 16\); got shape \(2, 5, 8\)"):
        layer(torch.randn(2, 5, 8), inputs, inputs)
    with pytest.raises(ShapeError, match=r"key_padding_mask must be \(2, 5\); got \(2, 4\)"):
        layer(inputs, inputs, inputs, torch.zeros(2, 4, dtype=torch.bool))
    with pytest.raises(ShapeError, match=r"attn_mask must be \(5, 5\) or \(8, 5, 5\); got \(2, 5, 5\)"):
        layer(inputs, inputs, inputs, attn_mask=torch.zeros(2, 5, 5, dtype=torch.bool))
    with pytest.raises(ArgumentError, match="attn_mask holds additive biases"):
        layer(inputs, inputs, inputs, attn_mask=torch.full((5, 5), 0.3))
    with pytest.raises(ShapeError, match="must share the batch"):
        layer(inputs, torch.randn(3, 5, 16), torch.randn(3, 5, 16))


def test_compiles_in_one_graph():
    layer = MultiheadAttention(16, 4, attention="bn+sh(1,1,2,4)", batch_first=True)
    inputs = torch.randn(2, 9, 16)
    padding = torch.arange(9) >= torch.tensor([9, 5])[:, None]
    torch.compiler.reset()
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    assert_close(
        compiled(inputs, inputs, inputs, padding)[0],
        layer(inputs, inputs, inputs, padding)[0],
        rtol=1e-4,
        atol=1e-5,
    )


@pytest.mark.parametrize(
    ("spec", "is_causal"),
    one_in(3, itertools.product([*LAYER_SPECS, "taylor(2)", "random(16)", "constant"], (False, True))),
)
def test_autocast_keeps_the_kernels_precision(spec, is_causal):
    """Projections run in bfloat16, kernels as they choose; backward too, even when called under autocast."""
    torch.manual_seed(0)
    layer = MultiheadAttention(24, 4, attention=spec, batch_first=True)
    inputs = torch.randn(2, 30, 24)
    padding = torch.arange(30) >= torch.tensor([30, 17])[:, None]
    options = {"key_padding_mask": padding, "need_weights": False, "is_causal": is_causal}
    with torch.autocast("cpu", torch.bfloat16):
        out, _ = layer(inputs, inputs, inputs, **options)
        out.float().square().mean().backward()
    assert out.dtype == torch.bfloat16
    assert all(
        parameter.grad.isfinite().all() for parameter in layer.parameters() if parameter.grad is not None
    )
    exact, _ = layer(inputs, inputs, inputs, **options)
    typical = exact[:, 8:].square().mean().sqrt()
    error = (out.float() - exact)[:, 8:].square().mean().sqrt()
    # Rounded projections may choose other blocks, whose values have nothing to do with those of the exact ones.
    assert error < (1 if spec.startswith("top(") else 0.1) * typical


def test_layers_keep_copies_of_a_problem():
    problem = preset("bn(learnable=true)")
    first, second = (
        MultiheadAttention(16, 4, attention=problem),
        MultiheadAttention(16, 2, attention=problem, dtype=torch.float64),
    )
    assert first.problem.transform.head_beta.shape == (4,)
    assert second.problem.transform.head_beta.shape == (2,)
    assert problem.transform.head_beta is None


@pytest.mark.parametrize("spec", ["softmax", "bn+sh(1,1,2,4)", "linear", "conv(3,causal=true)"])
@pytest.mark.parametrize("kv_heads", [4, 2])
def test_heads_of_any_width(spec, kv_heads):
    """The definition on 4 heads of width 5 in a model of width 12, all at once and token by token."""
    torch.manual_seed(0)
    layer = MultiheadAttention(
        12,
        4,
        kv_heads=kv_heads,
        head_dim=5,
        batch_first=True,
        attention=spec,
        dtype=torch.float64,
        out_bias=False,
    ).eval()
    inputs = torch.randn(2, 9, 12, dtype=torch.float64)
    heads = [
        projection(inputs).unflatten(-1, (-1, 5)).transpose(1, 2)
        for projection in (layer.q_proj, layer.k_proj, layer.v_proj)
    ]
    assert [each.shape[1] for each in heads] == [4, kv_heads, kv_heads]
    for is_causal in (False, True):
        out, maps = layer(inputs, inputs, inputs, is_causal=is_causal)
        mixed = layer.problem.dense(*heads, is_causal=is_causal).transpose(1, 2).flatten(2)
        assert_close(out, mixed @ layer.out_proj.weight.T)
        assert maps.shape == (2, 9, 9)
    state = layer.init_state(2)
    tokens = torch.cat([layer.step(state, token) for token in inputs.split([4, 1, 1, 3], 1)], 1)
    assert_close(tokens, out.detach(), rtol=1e-9, atol=1e-9)
    shapes = {
        name: tuple(tensor.shape) for name, tensor in layer.state_dict().items() if "weight" in name[6:]
    }
    width = 5 * kv_heads
    assert shapes["q_proj.weight"] == (20, 12)
    assert shapes["k_proj.weight"] == shapes["v_proj.weight"] == (width, 12)
    assert shapes["out_proj.weight"] == (12, 20)
    assert "out_proj.bias" not in layer.state_dict()


def test_weights_of_heads_of_any_width_load_from_other_libraries():
    """Packed as in torch and timm, and separate under the names of transformers."""
    layer = MultiheadAttention(12, 4, kv_heads=2, head_dim=5)
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    state = layer.state_dict()
    packed = {
        kind: torch.cat([state[f"{name}_proj.{kind}"] for name in "qkv"]) for kind in ("weight", "bias")
    }
    out = {f"proj.{kind}": state[f"out_proj.{kind}"] for kind in ("weight", "bias")}
    others = (
        {f"qkv.{kind}": packed[kind] for kind in packed} | out,
        {f"in_proj_{kind}": packed[kind] for kind in packed} | out,
        {key.replace("out_proj", "o_proj"): value for key, value in state.items()},
    )
    for other in others:
        fresh = MultiheadAttention(12, 4, kv_heads=2, head_dim=5)
        fresh.load_state_dict(other)
        assert_close(fresh.state_dict(), state, rtol=0, atol=0)
    with pytest.raises(CheckpointError, match=r"qkv\.weight must have 60 rows for this layer; got 40"):
        MultiheadAttention(12, 4, head_dim=5).load_state_dict(
            {f"qkv.{kind}": packed[kind] for kind in packed}
        )


@pytest.mark.parametrize("head_dim", [0, -1])
def test_bad_widths_of_heads(head_dim):
    with pytest.raises(ArgumentError, match=f"head_dim must be 1 or more; got {head_dim}"):
        MultiheadAttention(16, 4, head_dim=head_dim)
