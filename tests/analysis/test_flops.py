from __future__ import annotations

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from primaldual.analysis import layer_flops, mixing_flops, model_flops
from primaldual.errors import ArgumentError
from primaldual.models import TimeSeriesTransformer
from primaldual.nn.multihead import MultiheadAttention
from primaldual.primal.head_groups import HeadGroups
from primaldual.primal.presets import preset

SPECS = ["softmax", "bn", "bn(scale=none)", "sh(1,1,2,4)", "bn+sh", "sh(3,1,3,2)"]


def _measured(run):
    """What PyTorch counts; only the MATH backend shows its products on the CPU."""
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        run()
    return counter.get_total_flops()


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("length", [1, 12, 37])
def test_layer_count_is_what_pytorch_counts(spec, length):
    layer = MultiheadAttention(32, 4, attention=spec, batch_first=True).eval()
    inputs = torch.randn(1, length, 32)
    assert layer_flops(layer, length).total == _measured(
        lambda: layer(inputs, inputs, inputs, need_weights=False)
    )


@pytest.mark.parametrize("spec", ["softmax", "sh(1,2,2,4)"])
def test_grouped_queries_count_the_shared_projections_once(spec):
    layer = MultiheadAttention(32, 4, kv_heads=2, attention=spec, batch_first=True).eval()
    inputs = torch.randn(1, 20, 32)
    assert layer_flops(layer, 20).total == _measured(
        lambda: layer(inputs, inputs, inputs, need_weights=False)
    )


@pytest.mark.parametrize("spec", ["softmax", "sh(1,2,2,4)"])
def test_heads_of_any_width_are_counted(spec):
    layer = MultiheadAttention(24, 4, head_dim=9, attention=spec, batch_first=True).eval()
    inputs = torch.randn(1, 20, 24)
    assert layer_flops(layer, 20).total == _measured(
        lambda: layer(inputs, inputs, inputs, need_weights=False)
    )


@pytest.mark.parametrize("kv_heads", [4, 2])
@pytest.mark.parametrize("members", [[1, 3], [0, 1, 3]])
def test_heads_that_solve_different_problems_are_counted_by_group(members, kv_heads):
    layer = MultiheadAttention(32, 4, kv_heads=kv_heads, batch_first=True).eval()
    scales = ",".join(map(str, range(1, len(members) + 1)))
    rest = [head for head in range(4) if head not in members]
    layer.problem = HeadGroups([(preset(f"sh({scales})"), members), (preset("bn"), rest)])
    inputs = torch.randn(1, 20, 32)
    assert layer_flops(layer, 20).total == _measured(
        lambda: layer(inputs, inputs, inputs, need_weights=False)
    )


@pytest.mark.parametrize("spec", ["softmax", "bn", "sh", "bn+sh"])
@pytest.mark.parametrize("head", ["mean", "flatten"])
def test_model_count_is_what_pytorch_counts(spec, head):
    model = TimeSeriesTransformer(channels=3, length=24, outputs=5, attention=spec, head=head).eval()
    for length in (24, 17):
        values = torch.randn(1, length, 3)
        assert model_flops(model, length).total == _measured(lambda values=values: model(values))


@pytest.mark.parametrize("spec", ["linear", "random(16)", "linear+bn", "linear+sh(1,1,2,4)"])
def test_factored_attention_counts_its_products_up_to_the_denominator(spec):
    problem = preset(spec).bind(4, 8)
    query, key, value = torch.randn(3, 1, 4, 64, 8).unbind(0)
    counted = mixing_flops(problem, 4, 8, 64)
    measured = _measured(lambda: problem.attend(query, key, value))
    assert counted == pytest.approx(measured, rel=0.25)
    assert counted < mixing_flops(preset("softmax"), 4, 8, 64)


def test_window_counts_the_pairs_inside_it():
    assert mixing_flops(preset("window(1)"), 1, 8, 4) == 4 * 8 * (2 + 3 + 3 + 2)
    assert mixing_flops(preset("window(100)"), 2, 8, 9) == mixing_flops(preset("softmax"), 2, 8, 9)
    assert mixing_flops(preset("window(1)"), 1, 8, 2, 4) == 4 * 8 * (3 + 2)


def test_other_models_are_refused():
    with pytest.raises(ArgumentError, match="Linear"):
        model_flops(torch.nn.Linear(2, 2), 4)
