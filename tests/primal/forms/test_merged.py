"""Causal convolutions: only the last keys before a query are its own."""

import pytest
import torch
from torch.testing import assert_close

from primaldual import preset


@pytest.mark.parametrize("kv_heads", [4, 2])
@pytest.mark.parametrize("length", [1, 3, 29])
@pytest.mark.parametrize("spec", ["conv(3)", "conv(7,prefix=2)"])
def test_equals_definition(spec, length, kv_heads):
    torch.manual_seed(0)
    problem = preset(spec).bind(4, 6).double()
    with torch.no_grad():
        problem.transform.weight.add_(torch.randn_like(problem.transform.weight))
    inputs = [
        torch.randn(3, heads, length, 6, dtype=torch.float64, requires_grad=True)
        for heads in (4, kv_heads, kv_heads)
    ]
    leaves = [*inputs, problem.transform.weight]
    padded = (torch.arange(length) >= torch.tensor([0, length // 2, length - 1])[:, None])[:, None, None]
    for mask in (None, padded, torch.rand(1, 4, 1, length) > 0.4):
        out, wanted = (compute(*inputs, mask, True) for compute in (problem.attend, problem.dense))
        assert_close(out, wanted)
        seed = torch.randn_like(out)
        grads = (torch.autograd.grad(part, leaves, seed, allow_unused=True) for part in (out, wanted))
        for found, expected in zip(*grads, strict=True):
            if found is not None and expected is not None:
                assert_close(found, expected, rtol=1e-6, atol=1e-8)


def test_serves_centred_filters_under_a_causal_mask():
    def forms(spec, **options):
        return preset(spec).bind(2, 8).explain((1, 2, 64, 8), **options).forms

    assert forms("conv(3)", is_causal=True) == ["merged"]
    assert forms("conv(3,causal=true)", is_causal=True) == ["softmax"]
    assert forms("conv(3)") == ["softmax"]
    assert forms("conv2d(3)", is_causal=True) == ["scores"]
    assert forms("conv(3)+sh(2,2)", is_causal=True) == ["scores"]
