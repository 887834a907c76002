"""A folded layer has the outputs of evaluation and no batch normalisation."""

import copy
import itertools

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from primaldual import (
    BatchNormalization,
    Chain,
    Convolution,
    MultiheadAttention,
    PrimalProblem,
    TimeSeriesTransformer,
    derive,
    fold_batch_norm,
    preset,
)
from primaldual.errors import ArgumentError, UnsupportedError
from primaldual.nn.encoder import Encoder
from primaldual.primal.head_groups import HeadGroups
from primaldual.primal.transforms import AffineMap, Transform
from tests.quick import one_in

EXACT = {torch.float32: 1e-6, torch.float64: 1e-12}
"""Largest difference over the largest output."""

SPECS = {
    "bn(running=true)": "softmax",
    "bn(beta=0.7,scale=none,running=true)": "softmax",
    "bn(beta=0.5,learnable=true,running=true)": "softmax",
    "bn(running=true)+sh(1,1,2,4)": "sh(1,1,2,4)",
    "bn(learnable=true,running=true)+sh(1,1,2,2,prefix=1)": "sh(1,1,2,2,prefix=1)",
    "bn(running=true)+window(3)": "window(3)",
    "conv(3)+bn(running=true)": "conv(3)",
    "conv(3,causal=true)+bn(running=true)+sh(1,1,2,2)": "conv(3,causal=true)+sh(1,1,2,2)",
    "linear+bn(running=true)": "linear",
    "linear+bn(running=true,scale=none)+sh(1,1,2,2)": "linear+sh(1,1,2,2)",
    "constant+bn(running=true)": "constant",
    "taylor(2)+bn(running=true)": "taylor(2)",
    "bn(running=true)+conv(3)": "conv(3)",
    "linear+bn(running=true)+conv(3)+window(2)": "linear+conv(3)+window(2)",
}
"""Specs, and what they become."""


def trained(attention, kv_heads=4, bias=True, dtype=torch.float64, **options):
    """A layer with random parameters that has seen three batches."""
    torch.manual_seed(0)
    layer = MultiheadAttention(
        16, 4, bias=bias, batch_first=True, dtype=dtype, attention=attention, kv_heads=kv_heads, **options
    )
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        for _ in range(3):
            inputs = torch.randn(4, 12, 16, dtype=dtype) + 0.5
            layer(inputs, inputs, inputs, need_weights=False)
    return layer.eval()


def close(found, wanted, loss=1):
    scale = wanted.abs().max().clamp(min=1e-30)
    assert ((found - wanted).abs().max() / scale).item() <= loss * EXACT[found.dtype]


def cases(dtype):
    padding = torch.arange(12) >= torch.tensor([12, 9, 5])[:, None]
    pattern = torch.rand(12, 12, generator=torch.Generator().manual_seed(1)) < 0.3
    inputs = torch.randn(3, 12, 16, generator=torch.Generator().manual_seed(2)).to(dtype) + 0.5
    for options in ({}, {"key_padding_mask": padding}, {"attn_mask": pattern}):
        for is_causal in (False, True):
            yield inputs, {**options, "is_causal": is_causal}


@pytest.mark.parametrize(("spec", "dtype", "bias"), one_in(3, itertools.product(SPECS, EXACT, (True, False))))
def test_folded_outputs_are_those_of_evaluation(spec, dtype, bias):
    layer = trained(spec, dtype=dtype, bias=bias)
    before = copy.deepcopy(layer.state_dict())
    folded = fold_batch_norm(layer)
    assert folded.problem.spec() == SPECS[spec]
    assert not [name for name in folded.state_dict() if "averages" in name or "beta" in name]
    loss = 4 if "constant" in spec else 1  # exponentials that nothing divides lose the digits of large scores
    for inputs, options in cases(dtype):
        out, weights = layer(inputs, inputs, inputs, **options)
        close(folded(inputs, inputs, inputs, **options)[0], out, loss)
        close(folded(inputs, inputs, inputs, **options)[1], weights, loss)
        close(folded.train()(inputs, inputs, inputs, **options)[0], out, loss)
    assert layer.state_dict().keys() == before.keys()
    assert all(torch.equal(layer.state_dict()[name], tensor) for name, tensor in before.items())


@pytest.mark.parametrize("dtype", EXACT)
@pytest.mark.parametrize("spec", [
    "bn(running=true)", "bn(running=true,learnable=true)+sh(1,2,2,4)", "linear+bn(running=true)",
    "linear+bn(running=true)+sh(1,1,2,2)",
])  # fmt: skip
def test_grouped_key_heads(spec, dtype):
    layer = trained(spec, kv_heads=2, dtype=dtype)
    folded = fold_batch_norm(layer)
    for inputs, options in cases(dtype):
        close(folded(inputs, inputs, inputs, **options)[0], layer(inputs, inputs, inputs, **options)[0])


def test_query_projection_alone_changes_under_softmax():
    layer = trained("bn(beta=0.7,running=true)", bias=False)
    folded, averages = fold_batch_norm(layer), layer.problem.transform.averages
    factor = 1 / (averages.running_variance + 1e-5).flatten()
    assert_close(folded.q_proj.weight, layer.q_proj.weight * factor[:, None])
    assert_close(folded.q_proj.bias, -0.7 * averages.running_mean.flatten() * factor)
    assert folded.k_proj.bias is None
    assert_close(folded.k_proj.weight, layer.k_proj.weight, rtol=0, atol=0)
    recentred = trained("bn(scale=none,running=true)")
    assert_close(fold_batch_norm(recentred).q_proj.weight, recentred.q_proj.weight, rtol=0, atol=0)


def test_the_state_is_that_of_a_plain_layer():
    folded = fold_batch_norm(trained("bn(running=true)"))
    plain = MultiheadAttention(16, 4, batch_first=True, dtype=torch.float64)
    plain.load_state_dict(folded.state_dict())
    inputs = torch.randn(2, 7, 16, dtype=torch.float64)
    assert_close(plain(inputs, inputs, inputs)[0], folded(inputs, inputs, inputs)[0], rtol=0, atol=0)


def test_every_layer_of_a_model_is_folded():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(3, 8), Encoder(2, 8, 2, 16, attention="bn(running=true)"), nn.Linear(8, 1)
    ).double()
    for _ in range(3):
        model(torch.randn(4, 9, 3, dtype=torch.float64))
    model[1].layers[1].attention.q_proj.requires_grad_(False)
    folded = fold_batch_norm(model.eval())
    inputs = torch.randn(5, 9, 3, dtype=torch.float64)
    close(folded(inputs), model(inputs))
    assert [layer.attention.problem.spec() for layer in folded[1].layers] == ["softmax", "softmax"]
    assert [layer.attention.q_proj.bias.requires_grad for layer in folded[1].layers] == [True, False]
    assert not folded.training
    assert fold_batch_norm(model.train()).training


def test_classifiers_network():
    torch.manual_seed(0)
    model = TimeSeriesTransformer(
        2, 10, 3, embed_dim=8, num_heads=2, attention="bn(running=true)+sh(1,2)", dropout=0.0
    )
    padding = torch.arange(10) >= torch.tensor([10, 6, 8])[:, None]
    values = torch.randn(3, 10, 2)
    model(values, padding)
    folded = fold_batch_norm(model.eval())
    assert_close(folded(values, padding), model(values, padding), rtol=1e-5, atol=1e-6)


def test_layers_without_running_statistics_stay():
    model = nn.ModuleList([trained("bn"), trained("bn(running=true)")])
    folded = fold_batch_norm(model)
    assert [layer.problem.spec() for layer in folded] == ["bn", "softmax"]


def test_one_layer_in_two_places_is_folded_once():
    layer = trained("bn(running=true)")
    folded = fold_batch_norm(nn.ModuleList([layer, layer]))
    assert folded[0] is folded[1]
    inputs = torch.randn(2, 7, 16, dtype=torch.float64)
    close(folded[0](inputs, inputs, inputs)[0], layer(inputs, inputs, inputs)[0])


def test_a_projection_that_others_use_stays_theirs():
    layer = trained("bn(running=true)")
    layer.k_proj = layer.q_proj
    layer.train()(*[torch.randn(2, 7, 16, dtype=torch.float64)] * 3)
    folded = fold_batch_norm(layer.eval())
    inputs = torch.randn(2, 7, 16, dtype=torch.float64)
    close(folded(inputs, inputs, inputs)[0], layer(inputs, inputs, inputs)[0])


def test_several_normalisations_in_a_row():
    layer = trained(
        PrimalProblem(
            transform=Chain(BatchNormalization(running=True), BatchNormalization(beta=0.5, running=True))
        )
    )
    folded = fold_batch_norm(layer)
    assert folded.problem.spec() == "softmax"
    for inputs, options in cases(torch.float64):
        close(folded(inputs, inputs, inputs, **options)[0], layer(inputs, inputs, inputs, **options)[0])


@pytest.mark.parametrize("spec", one_in(2, ["linear+bn(running=true)+sh(1,1,2,2)", "bn(running=true)"]))
def test_export_and_compile(spec):
    class Attention(nn.Module):
        def __init__(self, layer):
            super().__init__()
            self.layer = layer

        def forward(self, inputs):
            return self.layer(inputs, inputs, inputs, need_weights=False)[0]

    layer = trained(spec, dtype=torch.float32)
    folded = Attention(fold_batch_norm(layer)).eval()
    inputs = torch.randn(3, 19, 16)
    sizes = {0: torch.export.Dim("batch", min=2, max=64), 1: torch.export.Dim("length", min=16, max=4096)}
    exported = torch.export.export(folded, (inputs,), dynamic_shapes=(sizes,)).module()
    other = torch.randn(2, 30, 16)
    assert_close(exported(other), Attention(layer)(other), rtol=1e-4, atol=1e-5)
    torch.compiler.reset()
    assert_close(torch.compile(folded, backend="aot_eager", fullgraph=True)(inputs), folded(inputs))


class Shifted(Transform):
    """A transform of a user's own that says that projections can take it up."""

    name = "shifted"

    def dense(self, query, keys, valid, heads):
        return 3 * (query - 1), 3 * (keys - 1)

    @property
    def fixed_at_inference(self):
        return True

    def affine(self, heads):
        ones = torch.ones(heads, 4, dtype=torch.float64)
        return AffineMap(ones, 3 * ones)


@pytest.mark.parametrize("words", ["softmax", "linear"])
def test_a_users_transform_is_folded(words):
    problem = preset(words)
    layer = trained(PrimalProblem(problem.feature_map, transform=Chain(Shifted(), Convolution(3))))
    folded = fold_batch_norm(layer)
    assert folded.problem.transform.spec() == "conv(3)"
    for inputs, options in cases(torch.float64):
        close(folded(inputs, inputs, inputs, **options)[0], layer(inputs, inputs, inputs, **options)[0])


def double(x):
    return 2 * x


class Adapted(nn.Linear):
    pass


def with_adapter():
    layer = trained("bn(running=true)")
    layer.q_proj = Adapted(16, 16, dtype=torch.float64)
    return layer


def with_hook():
    layer = trained("linear+bn(running=true)")
    layer.k_proj.register_forward_hook(lambda *_: None)
    return layer


def in_groups(spec):
    layer = MultiheadAttention(16, 4, batch_first=True, dtype=torch.float64)
    layer.problem = HeadGroups([(preset(spec).bind(2, 4), [0, 2]), (preset("softmax"), [1, 3])])
    return layer


REFUSED = {
    "adapter": (with_adapter, "q_proj is of type Adapted; accepted is a plain nn.Linear"),
    "hook": (with_hook, "k_proj is of type nn.Linear with hooks"),
    "own queries": (lambda: trained("conv(3,queries=true)+bn(running=true)"), "changes the queries"),
    "own function": (
        lambda: trained(
            derive(transform=Chain(derive(transform=double).transform, BatchNormalization(running=True)))
        ),
        "changes the queries",
    ),
    "keys after conv": (lambda: trained("linear+conv(3)+bn(running=true)"), "no projection can take"),
    "scales that differ": (
        lambda: trained("linear+bn(running=true)+sh(1,2,1,2)", kv_heads=2), "share a key head",
    ),
    "not in a layer": (
        lambda: nn.ModuleList([trained("bn(running=true)"), preset("bn(running=true)").bind(4, 4)]),
        "transform at '1.transform' belongs to no MultiheadAttention",
    ),
    "in one of several groups": (
        lambda: in_groups("bn(running=true)"),
        "at 'problem.groups.0.transform' belongs to no MultiheadAttention with a single problem for all heads",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_folded_is_named(name):
    make, message = REFUSED[name]
    with pytest.raises(UnsupportedError, match=message):
        fold_batch_norm(make())


def test_beside_a_layer_whose_heads_differ():
    model = nn.ModuleList([in_groups("bn"), trained("bn(running=true)")])
    folded = fold_batch_norm(model)
    assert [layer.problem.spec() for layer in folded] == [
        "bn in heads [0, 2], softmax in heads [1, 3]",
        "softmax",
    ]


@pytest.mark.parametrize("spec", ["bn(beta=0.5,learnable=true,running=true)", "linear+bn(running=true)"])
def test_heads_of_another_width(spec):
    layer = trained(spec, kv_heads=2, head_dim=6)
    folded = fold_batch_norm(layer)
    for inputs, options in cases(torch.float64):
        close(folded(inputs, inputs, inputs, **options)[0], layer(inputs, inputs, inputs, **options)[0])


def test_the_layer_is_named_and_the_original_unchanged():
    model = nn.ModuleDict({"good": trained("bn(running=true)"), "bad": with_adapter()})
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(UnsupportedError, match="the layer 'bad' cannot be folded: q_proj"):
        fold_batch_norm(model)
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in before.items())
    assert [model[name].problem.spec() for name in model] == ["bn(running=true)"] * 2


def test_nothing_to_fold_is_an_error_that_names_what_is_there():
    with pytest.raises(ArgumentError, match="found no MultiheadAttention in Linear"):
        fold_batch_norm(nn.Linear(2, 2))
    with pytest.raises(ArgumentError, match="found 'bn' at '0', 'softmax' at '1'"):
        fold_batch_norm(nn.ModuleList([trained("bn"), trained("softmax")]))
    with pytest.raises(ArgumentError, match=r"module must be a .*; got str"):
        fold_batch_norm("bn")
    with pytest.raises(ArgumentError, match="seen no training batch"):
        fold_batch_norm(MultiheadAttention(8, 2, attention="bn(running=true)"))
