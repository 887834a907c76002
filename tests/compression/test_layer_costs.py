"""Budgets in time and bytes; times are made up, so that no clock decides."""

from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from primaldual.analysis.latency import Timing
from primaldual.compression import layer_costs
from primaldual.compression.compress import compress
from primaldual.compression.layer_costs import Time, check_lengths
from primaldual.errors import ArgumentError
from primaldual.integrations.conversion import convert

FORMING = 40.0
"""Made-up time to form pairs, in keys that could be attended meanwhile."""


@pytest.fixture
def model():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()


@pytest.fixture
def data():
    return torch.randn(2, 128, 16, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def made_up(monkeypatch):
    def attempt(self, shape, site, scales):
        del self, site
        mixed = len(set(scales)) * 2.0
        forming = FORMING + mixed if max(scales) > 1 else 0.0
        return sum(shape.keys / scale for scale in scales) / len(scales) + forming

    monkeypatch.setattr(Time, "attempt", attempt)


def test_all_heads_together_keep_a_budget_in_time(model, data, made_up):
    found = compress(model, data, 0.6, measure="time", budgets=(0.9, 0.7, 0.1))
    assert found.measure == "time"
    assert found.share <= 0.6
    for scales in found.scales.values():
        mean = sum(1 / scale for scale in scales) / 4
        assert 128 * mean + FORMING * (max(scales) > 1) <= 128
    assert [point.budget for point in found.curve] == [0.9, 0.7]
    assert "attention time" in str(found)


def test_sequences_for_which_pooling_was_slower_are_left_unpooled(model, data, made_up):
    original = deepcopy(model)
    found = compress(model, data, 0.5, measure="time", budgets=(), scales=(1, 8))
    assert found.min_length == 64  # 64 / 8 + 42 < 64, 32 / 8 + 42 > 32
    assert "fewer than 64 keys" in str(found)
    short = data[:, :63]
    assert_close(model(short), original(short), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(model(data), original(data), atol=1e-5)
    assert "min_length=64" in model.layers[0].self_attn.problem.spec()


def test_attentions_that_always_pool_do_so(model, data, made_up):
    found = compress(model, data, 0.5, measure="time", attention="sh(...)", budgets=())
    assert found.min_length == 0


def test_costs_of_lengths_are_added(model, data, made_up):
    with pytest.raises(ArgumentError, match=r"attention time at 16, 32 positions on cpu; got 0\.9"):
        compress(model, data, 0.9, measure="time", lengths=(16, 32), budgets=())
    found = compress(model, data, 0.21, measure="time", lengths=(32, 1024), budgets=(), scales=(1, 8))
    assert found.min_length == 64


def test_time_is_that_of_neighbouring_runs(model, data, monkeypatch):
    runs = []

    def timed(tasks, repeats, warmup):
        runs.append(list(tasks))
        for task in tasks.values():
            task()
        return {name: Timing(2.0 if name == "original" else 0.5, 0, 0, repeats + warmup) for name in tasks}

    monkeypatch.setattr(layer_costs, "interleaved_latency", timed)
    found = compress(model, data, 0.5, measure="time", budgets=(), scales=(1, 4), layers=0)
    assert found.share == 0.25
    assert runs[0] == ["original"]
    assert all(names == ["original", "pooled"] for names in runs[1:] if len(names) > 1)


def test_bytes_of_pairs_in_layers_that_see_everything(model, data):
    found = compress(model, data, 0.5, measure="cache", budgets=())
    shares = [1 / scale for scales in found.scales.values() for scale in scales]
    assert found.share == pytest.approx(sum(shares) / len(shares))
    assert "attention cache" in str(found)


class Causal(nn.Module):
    """An encoder whose layers attend no later token."""

    def __init__(self, model):
        super().__init__()
        self.encoder = model

    def forward(self, inputs):
        mask = nn.Transformer.generate_square_subsequent_mask(inputs.shape[1])
        return self.encoder(inputs, mask=mask, is_causal=True)


def test_bytes_that_decoding_keeps_in_causal_layers(model, data):
    causal = Causal(model).eval()
    found = compress(deepcopy(causal), data, 0.5, measure="cache", attention="sh(...)", budgets=())
    assert 0.3 < found.share <= 0.5
    with pytest.raises(
        ArgumentError, match=r'cached bytes.*; try attention="sh\(\.\.\.\)"'
    ):  # keeps every key, of which a later query may pool others
        compress(causal, data, 0.5, measure="cache", budgets=())


def test_the_measure_of_operations_is_what_it_was(model, data):
    found = compress(model, data, 0.5, budgets=())
    assert (found.measure, found.min_length) == ("operations", 0)
    assert found.share == found.work


def test_layers_that_were_converted_before_are_the_original(model, data, made_up):
    convert(model, "bn", verbose=False)
    assert compress(model, data, 0.6, measure="time", budgets=()).share <= 0.6


@pytest.mark.parametrize(
    ("measure", "lengths", "words"),
    [
        ("seconds", None, "measure must be one of operations, time, cache"),
        ("operations", (128,), "lengths must be None"),
        ("time", (), "lengths must be positive"),
        ("cache", (0,), "lengths must be positive"),
        ("time", (1.5,), "lengths must be positive"),
    ],
)
def test_bad_input_is_refused(measure, lengths, words):
    with pytest.raises(ArgumentError, match=words):
        check_lengths(measure, lengths)
