"""Causal attention to pooled pairs, merged from two softmaxes, against the definition."""

import pytest
import torch
from torch.testing import assert_close

from primaldual import preset
from primaldual.kernels.pooled_prefix import PooledPrefixCall


def inputs(length, dtype=torch.float64, batch=2, heads=3):
    torch.manual_seed(length)
    return [torch.randn(batch, heads, length, 8, dtype=torch.float64).to(dtype) for _ in range(3)]


def run(query, key, value, window, mask, gradient):
    """Output and gradients of the call."""
    member = None if mask is None else mask.transpose(-2, -1)
    key, value = (tensor if mask is None else tensor.masked_fill(~member, 0.0) for tensor in (key, value))
    call = PooledPrefixCall(key, value, 8**-0.5, window, mask)
    outcome = call.forward(query)
    return outcome[0], *call.backward(gradient, query, outcome)


def definition(query, key, value, window, mask, gradient):
    leaves = [tensor.double().requires_grad_() for tensor in (query, key, value)]
    out = preset(f"sh({','.join([str(window)] * query.shape[1])})").dense(*leaves, mask, True)
    return out.detach(), *torch.autograd.grad(out, leaves, gradient.double())


@pytest.mark.parametrize("window", [2, 3, 8])
@pytest.mark.parametrize("length", [1, 2, 3, 8, 9, 16, 37])
def test_equals_definition(length, window):
    query, key, value = inputs(length)
    gradient = torch.randn_like(query)
    for found, wanted in zip(
        run(query, key, value, window, None, gradient),
        definition(query, key, value, window, None, gradient),
        strict=True,
    ):
        assert_close(found, wanted, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("heads", [1, 3])
@pytest.mark.parametrize("length", [1, 5, 9, 37])
def test_equals_definition_under_masks(length, heads):
    query, key, value = inputs(length)
    gradient = torch.randn_like(query)
    mask = torch.rand(2, heads, 1, length) > 0.5
    mask[0, :, :, :4] = False
    mask[1] = False
    for found, wanted in zip(
        run(query, key, value, 3, mask, gradient),
        definition(query, key, value, 3, mask, gradient),
        strict=True,
    ):
        assert_close(found, wanted, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 6e-2)])
def test_close_in_lower_precision(dtype, tolerance):
    query, key, value = inputs(37, dtype)
    gradient = torch.randn(query.shape, dtype=torch.float64).to(dtype)
    for found, wanted in zip(
        run(query, key, value, 4, None, gradient),
        definition(query, key, value, 4, None, gradient),
        strict=True,
    ):
        assert found.dtype == dtype
        assert_close(found.double(), wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("length", [2, 4, 8])
def test_inputs_stay_as_they_are(length):
    """One head and one window lie in memory as if they were folded already."""
    query, key, value = inputs(length, batch=1, heads=1)
    kept = [tensor.clone() for tensor in (query, key, value)]
    run(query, key, value, 4, None, torch.randn_like(query))
    for tensor, before in zip((query, key, value), kept, strict=True):
        assert_close(tensor, before, rtol=0, atol=0)
