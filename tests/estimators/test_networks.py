import torch

from primaldual.estimators import networks
from primaldual.estimators.networks import apply_network, build_network, restore_network
from primaldual.models import TimeSeriesTransformer

SETTINGS = {"channels": 2, "length": 6, "outputs": 3, "embed_dim": 8, "num_heads": 2}


def test_the_weights_follow_from_the_seed():
    first, again, other = (
        build_network(SETTINGS, seed, TimeSeriesTransformer).positions for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_restored_network_predicts():
    weights = build_network(SETTINGS, 1, TimeSeriesTransformer).state_dict()
    restored = restore_network(SETTINGS, weights, TimeSeriesTransformer)
    assert not restored.training
    assert torch.equal(restored.positions, weights["positions"])


def test_outputs_come_in_the_order_of_the_series(monkeypatch):
    monkeypatch.setattr(networks, "PREDICTION_BATCH", 2)
    model = build_network(SETTINGS, 0, TimeSeriesTransformer).eval()
    values = torch.randn(5, 6, 2)
    padding = torch.arange(6) >= torch.tensor([[4], [6], [1], [3], [6]])
    with torch.no_grad():
        expected = model(values, padding).double().numpy()
    assert abs(apply_network(model, values, padding, progress=False) - expected).max() < 1e-5
