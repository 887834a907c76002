from __future__ import annotations

import math

import pytest
import torch

from primaldual.analysis import LayerMaps, capture_attention, head_distances
from primaldual.errors import ArgumentError, UnsupportedError
from primaldual.models import TimeSeriesTransformer
from primaldual.nn.multihead import MultiheadAttention


def captured(model, *inputs):
    with torch.no_grad(), capture_attention(model) as maps:
        model.eval()(*inputs)
    return maps


def _model(spec="softmax"):
    torch.manual_seed(0)
    return TimeSeriesTransformer(channels=2, length=9, outputs=3, embed_dim=16, num_layers=2, attention=spec)


@pytest.mark.parametrize("spec", ["softmax", "bn", "sh", "bn+sh"])
def test_every_layer_gives_maps_whose_rows_sum_to_one_and_blame_no_padding(spec):
    padding = torch.zeros(3, 9, dtype=torch.bool)
    padding[1, 5:] = True
    maps = captured(_model(spec), torch.randn(3, 9, 2), padding)
    assert len(maps) == 2
    for layer in maps:
        assert layer.weights.shape == (3, 4, 9, 9)
        torch.testing.assert_close(layer.weights.sum(-1), torch.ones(3, 4, 9))
        assert layer.weights[1, :, :, 5:].abs().max() == 0
        assert torch.equal(layer.valid, ~padding)


def test_first_layer_map_is_the_softmax_written_out():
    model = _model()
    values = torch.randn(1, 9, 2)
    layer = model.encoder.layers[0].attention
    hidden = model.embedding(values) + model.positions
    heads = [
        project(hidden).unflatten(-1, (4, 4)).transpose(1, 2) for project in (layer.q_proj, layer.k_proj)
    ]
    expected = (heads[0] @ heads[1].transpose(-2, -1) / 2).softmax(-1)
    torch.testing.assert_close(captured(model, values)[0].weights, expected)


def test_capture_leaves_the_model_as_it_was():
    model = _model().train()
    with capture_attention(model):
        model(torch.randn(2, 9, 2))
    assert model.training
    assert all(not module._forward_hooks for module in model.modules())


def test_a_model_without_our_attention_is_refused():
    with pytest.raises(UnsupportedError, match="Linear"), capture_attention(torch.nn.Linear(2, 2)):
        pass


def test_distance_by_hand_over_three_heads():
    heads = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]], [[1.0, 0.0], [1.0, 0.0]]])
    valid = torch.ones(1, 2, dtype=torch.bool)
    expected = (2.0 + 2 * math.sqrt(2)) / 3
    assert head_distances(LayerMaps("layer", heads[None], valid)) == pytest.approx(expected)


def test_equal_heads_are_at_distance_zero_and_one_head_has_no_distance():
    heads = torch.rand(1, 1, 4, 4)
    valid = torch.ones(1, 4, dtype=torch.bool)
    assert head_distances(LayerMaps("layer", heads.expand(1, 3, 4, 4), valid)) == 0
    assert math.isnan(head_distances(LayerMaps("layer", heads, valid)))


def test_padding_does_not_count():
    weights = torch.rand(2, 3, 6, 6)
    valid = torch.ones(2, 6, dtype=torch.bool)
    valid[:, 4:] = False
    poisoned = weights.clone()
    poisoned[:, :, 4:] = float("nan")
    poisoned[:, :, :, 4:] = 7.0
    short = LayerMaps("layer", weights[:, :, :4, :4], valid[:, :4])
    assert head_distances(LayerMaps("layer", poisoned, valid)) == pytest.approx(head_distances(short))


def test_cross_attention_with_other_keys_than_queries():
    layer = MultiheadAttention(8, 2, batch_first=True)
    maps = captured(layer, torch.randn(1, 3, 8), torch.randn(1, 5, 8), torch.randn(1, 5, 8))
    assert maps[0].weights.shape == (1, 2, 3, 5)
    assert head_distances(maps[0]) > 0


def _encoder():
    torch.manual_seed(0)
    layer = torch.nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
    return torch.nn.TransformerEncoder(layer, 3, enable_nested_tensor=False).eval()


def test_maps_of_torch_equal_its_own_weights_and_outputs_stay():
    layer = torch.nn.MultiheadAttention(16, 4, batch_first=True).eval()
    x, memory = torch.randn(2, 5, 16), torch.randn(2, 7, 16)
    padding = torch.arange(7).expand(2, -1) >= torch.tensor([[7], [4]])
    blocked = torch.rand(5, 7) < 0.3
    blocked[:, 0] = False
    outputs, weights = layer(x, memory, memory, padding, True, blocked, average_attn_weights=False)
    with torch.no_grad(), capture_attention(layer) as maps:
        same, _ = layer(x, memory, memory, padding, False, blocked)
    torch.testing.assert_close(maps[0].weights, weights)
    torch.testing.assert_close(same, outputs)
    assert type(layer) is torch.nn.MultiheadAttention


def test_layers_and_heads_can_be_chosen():
    model, x = _encoder(), torch.randn(2, 5, 16)
    everything = captured(model, x)
    with torch.no_grad(), capture_attention(model, layers=[0, "layers.2*"], heads=[3, 1]) as maps:
        model(x)
    assert [one.name for one in maps] == ["layers.0.self_attn", "layers.2.self_attn"]
    for one, whole in zip(maps, (everything[0], everything[2]), strict=True):
        assert one.heads == (3, 1)
        torch.testing.assert_close(one.weights, whole.weights[:, [3, 1]])


def test_heads_of_unlike_scales_can_be_chosen():
    model, x = _model("sh(1,1,2,4)"), torch.randn(2, 9, 2)
    whole = captured(model, x)[0]
    with torch.no_grad(), capture_attention(model, 0, heads=[3, 0]) as maps:
        model(x)
    torch.testing.assert_close(maps[0].weights, whole.weights[:, [3, 0]])


def test_maps_are_handed_over_as_they_come():
    model, x = _encoder(), torch.randn(2, 5, 16)
    seen = []
    with torch.no_grad(), capture_attention(model, on_map=lambda one: seen.append(one.name)) as maps:
        model(x)
        assert len(seen) == 3
        model(x)
    assert seen == [f"layers.{number}.self_attn" for number in range(3)] * 2
    assert maps == []


@pytest.mark.parametrize(
    "choice", [{"heads": [4]}, {"heads": [-1]}, {"layers": 3}, {"layers": "decoder.*"}, {"layers": [1.5]}]
)
def test_layers_and_heads_that_are_not_there_are_refused_and_nothing_stays(choice):
    model = _encoder()
    kinds = [type(module) for module in model.modules()]
    with pytest.raises(ArgumentError, match=r"heads|layers"), capture_attention(model, **choice):
        pass
    assert [type(module) for module in model.modules()] == kinds


def test_an_error_inside_leaves_the_model_as_it_was():
    model = _encoder()
    kinds = [type(module) for module in model.modules()]
    with pytest.raises(KeyError), capture_attention(model):
        raise KeyError("mine")
    assert [type(module) for module in model.modules()] == kinds
    assert all(not module._forward_hooks for module in model.modules())
