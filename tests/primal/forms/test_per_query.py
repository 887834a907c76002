"""Training keys of every query, a few queries at a time."""

import warnings

import pytest
import torch
from torch.testing import assert_close

from primaldual import preset
from primaldual.errors import SlowAttentionWarning
from primaldual.primal import row_pairs
from primaldual.primal.forms import choice

SPECS = [
    "bn+sh(1,2,3,4)",
    "bn(beta=0.6,gain=0.3)+sh(2,3,2,4)",
    "bn(learnable=true,scale=none)+sh(2,3,2,4,grid=3x4,prefix=1)",
    "anchored(1,2,3,4,kept=0.5)+bn",
    "conv(3)+bn",
    "conv2d(3)+bn+sh(1,2,2,3,grid=3x4,prefix=1)",
    "linear",
    "linear+bn",
    "linear+constant+bn",
    "linear+sh(1,2,3,3)",
    "linear+anchored(1,2,3,4)",
    "random(16)+bn",
    "taylor(2)+bn+sh(2,2,3,3)",
]


@pytest.mark.parametrize("queries", [13, 4])
@pytest.mark.parametrize("spec", SPECS)
def test_equals_definition(monkeypatch, spec, queries):
    monkeypatch.setattr(row_pairs, "BLOCK_NUMBERS", 2000)  # a few rows at a time
    torch.manual_seed(0)
    problem = preset(spec).bind(4, 6).double()
    with torch.no_grad():
        for parameter in problem.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    sizes = [(2, 4, queries, 6), (2, 2, 13, 6), (2, 2, 13, 5)]
    inputs = [torch.randn(size, dtype=torch.float64, requires_grad=True) for size in sizes]
    leaves = [*inputs, *problem.parameters()]
    for mask in (None, torch.rand(2, 1, queries, 13) > 0.3, torch.rand(1, 4, queries, 13) > 0.3):
        for is_causal in (False, True):
            out, wanted = (compute(*inputs, mask, is_causal) for compute in (problem.attend, problem.dense))
            assert_close(out, wanted)
            grads = [
                torch.autograd.grad(part.sin().sum(), leaves, allow_unused=True) for part in (out, wanted)
            ]
            for found, expected in zip(*grads, strict=True):
                scale = 1.0 if expected is None else max(1.0, expected.abs().max().item())
                assert_close(found, expected, rtol=1e-6, atol=1e-9 * scale)
            if mask is not None:
                served = problem.explain(sizes[0], sizes[1], mask, is_causal)
                assert "per query" in served.forms


def test_a_long_call_says_what_is_slow_about_it(monkeypatch):
    monkeypatch.setattr(choice, "MANY_NUMBERS", 1000)
    tensors = torch.randn(3, 1, 1, 32, 4).unbind(0)
    with pytest.warns(SlowAttentionWarning, match=r"linear\+bn forms 4 numbers .* bn takes the statistics"):
        preset("linear+bn").attend(*tensors, is_causal=True)
    explained = str(preset("linear+bn").explain((1, 1, 32, 4), is_causal=True))
    assert "slow: linear+bn forms 4 numbers for each pair of query and key" in explained
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        preset("linear+bn").attend(*tensors)
        preset("conv(3)").attend(*tensors, is_causal=True)
