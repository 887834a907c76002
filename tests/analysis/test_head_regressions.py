import pytest
import torch
from torch.testing import assert_close

from primaldual.analysis import head_regressions
from primaldual.errors import UnsupportedError
from primaldual.models import TimeSeriesTransformer
from primaldual.nn.multihead import MultiheadAttention


def test_outputs_are_those_of_the_layer_and_solving_gives_the_values_back():
    layer = MultiheadAttention(16, 4, attention="bn+sh(1,1,2,3)", batch_first=True).double()
    x = torch.randn(2, 9, 16, dtype=torch.float64)
    padding = torch.arange(9).expand(2, -1) >= torch.tensor([[9], [6]])
    found = head_regressions(layer, x, x, x, padding)[""]
    mixed = layer.out_proj(found.outputs.transpose(1, 2).flatten(2))
    assert_close(mixed, layer(x, x, x, padding)[0])
    assert_close(
        found.solve(tolerance=1e-10).predict(layer_queries(layer, x)), found.outputs, rtol=1e-4, atol=1e-4
    )
    values = layer.v_proj(x * ~padding.unsqueeze(-1)).detach()
    assert abs(found.epsilon / float(values.std()) - 0.1) < 1e-6


def layer_queries(layer, x):
    return layer.q_proj(x).unflatten(-1, (4, 4)).transpose(1, 2)


def test_every_layer_of_a_model_by_its_path():
    model = TimeSeriesTransformer(3, 12, 2, num_layers=2, attention="conv(3)+bn")
    model.train()
    found = head_regressions(model, torch.randn(1, 12, 3))
    assert [regression.targets.shape[2] for regression in found.values()] == [12, 12]
    assert all(isinstance(dict(model.named_modules())[name], MultiheadAttention) for name in found)
    assert model.training


def test_what_fits_every_query_on_keys_of_its_own_is_refused():
    x = torch.randn(1, 5, 8)
    with pytest.raises(UnsupportedError, match="window"):
        head_regressions(MultiheadAttention(8, 2, attention="window(1)", batch_first=True), x, x, x)
    layer = MultiheadAttention(8, 2, batch_first=True)
    with pytest.raises(UnsupportedError, match="attn_mask"):
        head_regressions(layer, x, x, x, None, False, torch.zeros(5, 5, dtype=torch.bool))
    with pytest.raises(UnsupportedError, match="has none"):
        head_regressions(torch.nn.Linear(8, 8), x)
