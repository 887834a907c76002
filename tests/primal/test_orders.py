"""Local models with a slope against least squares, query by query."""

import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from primaldual import LocalLinear, MultiheadAttention, preset, solve
from primaldual.errors import ArgumentError, UnsupportedError

HEADS, LENGTH, WIDTH = 2, 9, 3


def tensors(query_length=LENGTH, kv_heads=HEADS, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = [(HEADS, query_length), (kv_heads, LENGTH), (kv_heads, LENGTH)]
    return [torch.randn(2, *shape, WIDTH, generator=generator, dtype=torch.float64) for shape in shapes]


def least_squares(query, key, value, allowed, ridge):
    """min over b, W of sum_j kappa_j |v_j - b - W (k_j - q)|^2 + ridge |W|^2: b, by numpy, one query at a time."""
    kappa = np.exp(key[allowed] @ query / math.sqrt(len(query)))
    if not len(kappa):
        return np.zeros(value.shape[-1])
    root = np.sqrt(kappa)[:, None]
    design = np.concatenate([root, root * (key[allowed] - query)], 1)
    penalty = np.concatenate([np.zeros((len(query), 1)), math.sqrt(ridge) * np.eye(len(query))], 1)
    right = np.concatenate([root * value[allowed], np.zeros((len(query), value.shape[-1]))])
    return np.linalg.lstsq(np.concatenate([design, penalty]), right, rcond=None)[0][0]


@pytest.mark.parametrize("mask", ["none", "padding", "pairs"])
@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize(("query_length", "kv_heads"), [(LENGTH, HEADS), (5, 1)])
def test_local_linear_attention_is_weighted_least_squares(query_length, kv_heads, is_causal, mask):
    query, key, value = tensors(query_length, kv_heads)
    masks = {
        "none": torch.ones(1, 1, 1, LENGTH, dtype=torch.bool),
        "padding": torch.tensor([[0, 1, 1, 0, 1, 1, 1, 0, 0], [1] * LENGTH]).bool()[:, None, None],
        "pairs": torch.rand(2, 1, query_length, LENGTH, generator=torch.Generator().manual_seed(2)) > 0.4,
    }
    causal = torch.arange(LENGTH) <= torch.arange(query_length)[:, None] + LENGTH - query_length
    allowed = (masks[mask] & causal if is_causal else masks[mask]).expand(2, HEADS, query_length, LENGTH)
    wanted = torch.empty_like(query)
    for b, h, i in np.ndindex(*query.shape[:3]):
        pair = b, h * kv_heads // HEADS
        rows = (each.numpy() for each in (query[b, h, i], key[pair], value[pair], allowed[b, h, i]))
        wanted[b, h, i] = torch.from_numpy(least_squares(*rows, ridge=0.7))
    given, problem = None if mask == "none" else masks[mask], preset("lla(0.7)")
    for found in (problem.attend, problem.dense):
        assert_close(found(query, key, value, given, is_causal), wanted, rtol=1e-9, atol=1e-9)


def test_without_a_ridge_affine_values_are_reproduced():
    query, key, _ = tensors()
    slope = torch.tensor([[1.0, -2.0], [0.5, 3.0], [0.0, 1.0]], dtype=torch.float64)
    found = preset("lla(0)").attend(query, key, key @ slope + 5)
    assert_close(found, query @ slope + 5, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("is_causal", [False, True])
def test_a_large_ridge_leaves_softmax(is_causal):
    query, key, value = tensors()
    wanted = preset("softmax").attend(query, key, value, is_causal=is_causal)
    assert_close(
        preset("lla(1000000)").attend(query, key, value, is_causal=is_causal), wanted, rtol=0, atol=1e-4
    )


def test_the_ridge_counts_against_the_sum_of_kernels():
    """Scores of -60 make this sum so small that a ridge of 1e-9 leaves nothing of the slope."""
    _, key, value = tensors()
    far = torch.full((2, HEADS, 1, WIDTH), -math.sqrt(60 / math.sqrt(WIDTH)), dtype=torch.float64)
    shifted = preset("lla(1e-9)").attend(far, key * 0.1 - far, value)
    assert_close(shifted, preset("softmax").attend(far, key * 0.1 - far, value), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("is_causal", [False, True])
def test_parallax_is_softmax_less_its_directional_derivative(is_causal):
    query, key, value = tensors()
    probe = torch.randn(query.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)

    def softmax(moved):
        return preset("softmax").dense(moved, key, value, is_causal=is_causal)

    output, derivative = torch.autograd.functional.jvp(softmax, query, probe * math.sqrt(WIDTH))
    found = preset("parallax").attend(query, key, value, is_causal=is_causal, inputs={"probe": probe})
    assert_close(found, output - derivative, rtol=1e-10, atol=1e-10)


def test_the_probe_of_least_squares_makes_parallax_local_linear():
    query, key, value = tensors()
    weights = preset("softmax").weights(query, key)
    total = (query @ key.mT / math.sqrt(WIDTH)).logsumexp(-1, keepdim=True)
    mean = weights @ key
    covariance = (
        torch.einsum("bhij,bhjc,bhjd->bhicd", weights, key, key) - mean[..., :, None] * mean[..., None, :]
    )
    ridge = (0.4 / total.exp()).unsqueeze(-1) * torch.eye(WIDTH)
    probe = -torch.linalg.solve(covariance + ridge, query - mean)
    found = preset("parallax").attend(query, key, value, inputs={"probe": probe})
    assert_close(found, preset("lla(0.4)").attend(query, key, value), rtol=1e-9, atol=1e-9)


def test_weights_of_a_slope_add_up_to_one_and_give_the_output():
    query, key, value = tensors()
    weights = preset("lla(0.1)").attention_map(query, key, is_causal=True)
    assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]))
    assert_close(weights @ value, preset("lla(0.1)").attend(query, key, value, is_causal=True))
    assert (weights < 0).any()


def test_a_layer_learns_the_probe_from_softmax_on():
    torch.manual_seed(0)
    layer, plain = (MultiheadAttention(8, 2, attention=spec) for spec in ("parallax", "softmax"))
    plain.load_state_dict(layer.state_dict(), strict=False)
    tokens = torch.randn(2, 5, 8)
    assert_close(layer(tokens, tokens, tokens)[0], plain(tokens, tokens, tokens)[0])
    layer(tokens, tokens, tokens)[0].square().sum().backward()
    assert layer.input_proj.probe.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("spec", ["lla+constant", "lla+sink(0)", "parallax+constant"])
def test_weights_that_do_not_add_up_to_one_are_refused(spec):
    with pytest.raises(UnsupportedError, match="add up to 1"):
        preset(spec)


@pytest.mark.parametrize("ridge", [-1.0, math.nan, math.inf])
def test_a_ridge_is_not_negative_and_finite(ridge):
    with pytest.raises(ArgumentError, match=f"ridge.*{ridge}"):
        LocalLinear(ridge)


def test_there_is_no_single_regression_to_solve():
    keys = torch.randn(1, 1, 6, 3)
    with pytest.raises(UnsupportedError, match="fits every query by itself"):
        solve(preset("lla"), keys, keys)


def test_a_slope_of_other_coefficients_than_the_values_is_refused():
    with pytest.raises(UnsupportedError, match="one of both"):
        preset("lla+boost(2)")


def test_a_covariance_under_negative_weights_is_refused_by_its_name():
    query = torch.ones(1, 1, 1, 2, dtype=torch.float64)
    key = torch.tensor([[3.0, 0.0], [0.0, -2.0], [-1.0, -1.5]], dtype=torch.float64)[None, None]
    for compute in (preset("dot+lla(0)").attend, preset("dot+lla(0)").dense):
        with pytest.raises(ArgumentError, match="the covariance of keys with its ridge must be"):
            compute(query, key, key)
