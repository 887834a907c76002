import torch
from torch import nn

from primaldual.compression.layer_shapes import layer_shapes
from primaldual.integrations.attention_hooks import attending, evaluating


def test_shapes_are_those_of_the_call():
    layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True).double()
    model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    with evaluating(model), attending(model) as sites:
        shapes = layer_shapes(model, sites, torch.randn(3, 10, 16, dtype=torch.float64))
    assert list(shapes) == ["layers.0.self_attn", "layers.1.self_attn"]
    shape = shapes["layers.0.self_attn"]
    assert shape[:8] == (3, 4, 4, 10, 10, 4, 4, False)
    query, key, value = shape.at(7).tensors()
    assert query.shape == key.shape == value.shape == (3, 4, 7, 4)
    assert query.dtype == torch.float64
    assert shape.at(None) == shape
