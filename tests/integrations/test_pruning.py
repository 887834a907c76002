"""Heads that are cut out: the layer gives what it gave with them silent, and is smaller."""

import copy

import pytest
import torch
from tests.integrations import torch_models as models
from torch import nn
from torch.testing import assert_close

from primaldual import MultiheadAttention, convert, preset
from primaldual.analysis.flops import layer_flops
from primaldual.errors import ArgumentError, UnsupportedError
from primaldual.integrations.pruning import check_prunable, keep_inputs, keep_outputs, pruned_problem
from primaldual.integrations.torch_layers import find

SPECS = [
    "softmax",
    "bn(beta=0.5,learnable=true)",
    "bn(running=true)",
    "sh(1,2,3,4)",
    "sh",
    "conv(3)+bn(learnable=true)+sh(1,1,2,2)",
    "linear+window(2)",
    "taylor(2)",
]


def silenced(layer, keep):
    """A copy whose output projection takes nothing from the other heads."""
    other = copy.deepcopy(layer)
    with torch.no_grad():
        columns = other.out_proj.weight.unflatten(1, (-1, layer.head_dim))
        columns[:, [head for head in range(layer.num_heads) if head not in keep]] = 0
    return other


def perturbed(layer):
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return layer


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("keep", [[0, 2], [3], [2, 0, 1]])
@pytest.mark.parametrize("spec", SPECS)
def test_a_pruned_layer_is_the_layer_with_silent_heads(spec, keep, is_causal):
    layer = MultiheadAttention(24, 4, batch_first=True, dtype=torch.float64, attention=spec)
    inputs, blocked = torch.randn(3, 9, 24, dtype=torch.float64), models.padding(9)
    layer(inputs, inputs, inputs)
    perturbed(layer).eval()
    wanted, _ = silenced(layer, keep)(inputs, inputs, inputs, blocked, is_causal=is_causal)
    before = sum(parameter.numel() for parameter in layer.parameters())
    learned = sum(parameter.numel() for parameter in layer.problem.parameters())
    flops = layer_flops(layer, 9)
    (site,) = find(layer)
    site.prune(keep)
    found, maps = layer(inputs, inputs, inputs, blocked, is_causal=is_causal, average_attn_weights=False)
    assert_close(found, wanted, rtol=1e-9, atol=1e-9)
    assert (site.heads, site.kv_heads, maps.shape[1]) == (len(keep),) * 3
    gone = 4 - len(keep)
    assert before - sum(each.numel() for each in layer.parameters()) == gone * (
        4 * 24 * 6 + 3 * 6 + learned // 4
    )
    fewer = layer_flops(layer, 9)
    assert fewer.mixing < flops.mixing
    assert fewer.projections < flops.projections
    copied = torch.nn.Sequential(copy.deepcopy(layer))[0]
    copied.load_state_dict(layer.state_dict())
    assert_close(copied(inputs, inputs, inputs, blocked, is_causal=is_causal)[0], found, rtol=0, atol=0)


@pytest.mark.parametrize(
    "spec", ["softmax", "bn(learnable=true)+sh(1,2,3,4)", "conv(3,causal=true)", "linear"]
)
def test_a_pruned_layer_decodes(spec):
    layer = perturbed(MultiheadAttention(24, 4, batch_first=True, dtype=torch.float64, attention=spec)).eval()
    find(layer)[0].prune([1, 3])
    inputs = torch.randn(2, 9, 24, dtype=torch.float64)
    state = layer.init_state(2)
    outputs = torch.cat([layer.step(state, token) for token in inputs.split(1, 1)], 1)
    whole, _ = layer(inputs, inputs, inputs, is_causal=True, need_weights=False)
    assert_close(outputs, whole.detach(), rtol=1e-9, atol=1e-9)


def test_heads_that_share_keys_go_together():
    layer = perturbed(
        MultiheadAttention(24, 6, kv_heads=3, attention="bn(learnable=true)", dtype=torch.float64)
    )
    inputs = torch.randn(5, 2, 24, dtype=torch.float64)
    wanted, _ = silenced(layer, [0, 1, 4, 5])(inputs, inputs, inputs)
    (site,) = find(layer)
    before = copy.deepcopy(layer.state_dict())
    for keep in ([0, 1, 2], [0, 2, 4], [1, 0]):
        with pytest.raises(
            UnsupportedError, match="every 2 heads share keys and can only stay or go together"
        ):
            site.prune(keep)
    assert_close(layer.state_dict(), before, rtol=0, atol=0)
    site.prune([0, 1, 4, 5])
    assert (site.heads, site.kv_heads, layer.k_proj.out_features) == (4, 2, 8)
    assert_close(layer(inputs, inputs, inputs)[0], wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("keep", [[0, 1], [1, 3], [0], [3], [3, 2, 1]])
def test_groups_of_heads_are_pruned(keep):
    model = models.attention()
    convert(model, "bn(learnable=true)+sh(1,3)", heads=[1, 3], verbose=False)
    perturbed(model)
    inputs = models.sequences()
    wanted, _ = silenced(model, keep)(inputs, inputs, inputs)
    find(model)[0].prune(keep)
    assert_close(model(inputs, inputs, inputs)[0], wanted, rtol=1e-9, atol=1e-9)
    convert(model, "softmax", verbose=False)
    assert model(inputs, inputs, inputs)[0].shape == inputs.shape


def test_inside_an_encoder_after_conversion_and_training():
    model = models.encoder(layers=2)
    convert(model, "bn", verbose=False)
    inputs = models.sequences()
    with torch.no_grad():
        columns = model.layers[1].self_attn.out_proj.weight.unflatten(1, (4, 4))
        columns[:, 2] = 0
    wanted = model(inputs)
    find(model)[1].prune([0, 1, 3])
    found = model(inputs)
    assert_close(found, wanted, rtol=1e-9, atol=1e-9)
    found.sum().backward()
    assert model.layers[1].self_attn.q_proj.weight.grad.shape == (12, 16)


def test_frozen_parameters_stay_frozen():
    layer = MultiheadAttention(8, 4, attention="bn(learnable=true)")
    layer.q_proj.bias.requires_grad_(False)
    layer.problem.requires_grad_(False)
    find(layer)[0].prune([0, 3])
    flags = {name: parameter.requires_grad for name, parameter in layer.named_parameters()}
    assert [name for name, trained in flags.items() if not trained] == [
        "q_proj.bias",
        "problem.transform.head_beta",
    ]


def test_rows_and_columns_of_linear_maps_and_of_transformers_conv1d():
    class Conv1D(nn.Module):
        """As in transformers: weight (in, out)."""

        def __init__(self, weight, bias):
            super().__init__()
            self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)
            self.nx, self.nf = weight.shape

        def forward(self, inputs):
            return inputs @ self.weight + self.bias

    linear = nn.Linear(4, 3 * 5 * 2)
    other = Conv1D(linear.weight.detach().T.clone(), linear.bias.detach().clone())
    inputs = torch.randn(7, 4)
    wanted = linear(inputs).view(7, 3, 5, 2)[:, :, [4, 0]].flatten(1)
    for projection in (linear, other):
        keep_outputs(projection, [4, 0], 2, packs=3)
        assert_close(projection(inputs), wanted)
    assert (linear.in_features, linear.out_features, other.nx, other.nf) == (4, 12, 4, 12)
    mixed = torch.randn(7, 12)
    linear = nn.Linear(12, 4, bias=False)
    other = Conv1D(linear.weight.detach().T.clone(), torch.zeros(4))
    wanted = linear(mixed.view(7, 6, 2).mul(torch.tensor([1, 0, 0, 1, 1, 0])[:, None]).flatten(1))
    for projection in (linear, other):
        keep_inputs(projection, [0, 3, 4], 2)
        assert_close(projection(mixed.view(7, 6, 2)[:, [0, 3, 4]].flatten(1)), wanted)
    assert (linear.in_features, linear.out_features, other.nx, other.nf) == (6, 4, 6, 4)


def test_what_cannot_be_pruned_is_refused_and_nothing_changes():
    layer = MultiheadAttention(8, 4, batch_first=True)
    (site,) = find(layer)
    for keep in ([], [4], [-1], [1, 1]):
        with pytest.raises(ArgumentError, match="keep must name some of the heads 0 to 3, each once"):
            site.prune(keep)
        with pytest.raises(ArgumentError, match="each once"):
            pruned_problem(preset("bn"), keep, 4)
    layer.v_proj = nn.Sequential(layer.v_proj)
    before = copy.deepcopy(layer.state_dict())
    with pytest.raises(
        UnsupportedError, match=r"plain linear maps, .*; got torch\.nn\.modules\.container\.Sequential"
    ):
        site.prune([0])
    assert (layer.num_heads, layer.q_proj.out_features) == (4, 8)
    assert_close(layer.state_dict(), before, rtol=0, atol=0)
    strange = nn.Linear(2, 2)
    strange.weight = nn.Parameter(strange.weight.detach().as_subclass(type("DTensor", (torch.Tensor,), {})))
    with pytest.raises(UnsupportedError, match="plain parameters; got a weight of type DTensor"):
        check_prunable(strange)
    with pytest.raises(UnsupportedError, match="convert it first"):
        find(nn.MultiheadAttention(8, 4))[0].prune([0])
