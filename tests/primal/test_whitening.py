"""Whitening against numpy's covariances, query by query, and what it reduces to."""

import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from primaldual import Whitening, preset
from primaldual.errors import ArgumentError
from primaldual.kernels import whitening

HEADS, LENGTH, WIDTH = 4, 90, 3


def tensors(query_length=LENGTH, kv_heads=HEADS):
    generator = torch.Generator().manual_seed(0)
    shapes = [(HEADS, query_length), (kv_heads, LENGTH), (kv_heads, LENGTH)]
    return [torch.randn(2, *shape, WIDTH, generator=generator, dtype=torch.float64) for shape in shapes]


def one_query(query, key, value, shrink, eps):
    """The attention of one query on its keys, with a covariance by numpy."""
    if not len(key):
        return np.zeros(value.shape[-1])
    covariance = np.atleast_2d(np.cov(key.T, bias=True))
    metric = (1 - shrink) * covariance + np.diag(shrink * np.diag(covariance) + eps)
    scores = key @ np.linalg.solve(metric, query - key.mean(0)) / math.sqrt(len(query))
    weights = np.exp(scores - scores.max())
    return weights @ value / weights.sum()


@pytest.mark.parametrize("mask", ["none", "padding", "heads", "pairs"])
@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize(("query_length", "kv_heads"), [(LENGTH, HEADS), (LENGTH + 5, 2), (7, 2)])
def test_it_is_attention_in_the_metric_of_the_covariance(
    query_length, kv_heads, is_causal, mask, monkeypatch
):
    monkeypatch.setattr(whitening, "BLOCK_NUMBERS", 5 * 2 * kv_heads * WIDTH**2)  # five queries at a time
    query, key, value = tensors(query_length, kv_heads)
    drawn = torch.rand(2, HEADS, query_length, LENGTH, generator=torch.Generator().manual_seed(1)) > 0.3
    masks = {
        "none": torch.ones(1, 1, 1, LENGTH, dtype=torch.bool),
        "padding": (torch.arange(LENGTH) >= torch.tensor([4, 0])[:, None])[:, None, None],
        "heads": drawn[:, :, :1],
        "pairs": drawn,
    }
    causal = torch.arange(LENGTH) <= torch.arange(query_length)[:, None] + LENGTH - query_length
    allowed = (masks[mask] & causal if is_causal else masks[mask]).expand(2, HEADS, query_length, LENGTH)
    wanted = torch.empty(*query.shape[:3], WIDTH, dtype=torch.float64)
    for b, h, i in np.ndindex(*query.shape[:3]):
        pair, seen = (b, h * kv_heads // HEADS), allowed[b, h, i]
        rows = (part.numpy() for part in (query[b, h, i], key[pair][seen], value[pair][seen]))
        wanted[b, h, i] = torch.from_numpy(one_query(*rows, 0.3, 1e-3))
    problem, given = preset("whiten(0.3,eps=0.001)"), None if mask == "none" else masks[mask]
    for compute in (problem.attend, problem.dense):
        assert_close(compute(query, key, value, given, is_causal), wanted, rtol=1e-9, atol=1e-9)


def test_gradients_are_those_of_the_definition(monkeypatch):
    monkeypatch.setattr(whitening, "BLOCK_NUMBERS", 5 * 2 * HEADS * WIDTH**2)
    inputs = [tensor.requires_grad_() for tensor in tensors()]
    problem = preset("whiten")
    for is_causal in (False, True):
        found, wanted = (
            torch.autograd.grad(compute(*inputs, is_causal=is_causal).sin().sum(), inputs)
            for compute in (problem.attend, problem.dense)
        )
        for one, other in zip(found, wanted, strict=True):
            assert_close(one, other, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("is_causal", [False, True])
def test_shrunk_to_the_diagonal_it_is_batch_normalisation(is_causal):
    inputs = tensors(kv_heads=2)
    wanted = preset("bn").attend(*inputs, is_causal=is_causal)
    assert_close(preset("whiten(1)").attend(*inputs, is_causal=is_causal), wanted)


def test_an_affine_map_of_the_inputs_changes_nothing():
    """The metric of the whole covariance follows every such map; that of the diagonal only scalings and shifts."""
    query, key, value = tensors()
    turn = torch.tensor([[2.0, 1.0, 0.0], [-1.0, 0.5, 0.3], [0.0, 0.7, 4.0]], dtype=torch.float64)
    problem = preset("whiten(0,eps=1e-12)")
    assert_close(problem.attend(query @ turn + 7, key @ turn + 7, value), problem.attend(query, key, value))
    bn = preset("bn")
    assert not torch.allclose(
        bn.attend(query @ turn, key @ turn, value), bn.attend(query, key, value), atol=0.01
    )


@pytest.mark.parametrize(
    ("arguments", "match"), [((-0.1,), "shrink.*-0.1"), ((2,), "shrink.*2"), ((math.nan,), "shrink")]
)
def test_a_share_lies_between_0_and_1(arguments, match):
    with pytest.raises(ArgumentError, match=match):
        Whitening(*arguments)
    with pytest.raises(ArgumentError, match="eps"):
        Whitening(eps=0)


@pytest.mark.parametrize("spec", ["whiten(1)", "sink(0.3)+whiten(1)"])
def test_gradients_of_a_single_key_stay_finite_in_half_precision(spec):
    generator = torch.Generator().manual_seed(0)
    leaves = [torch.randn(1, 1, 11, 3, generator=generator).half().requires_grad_() for _ in range(3)]
    mask = torch.arange(11).view(1, 1, 1, 11) == 0
    problem = preset(spec).bind(1, 3).half()
    outputs = [compute(*leaves, mask) for compute in (problem.attend, problem.dense)]
    found, wanted = (torch.autograd.grad(out.sum() * 4, leaves) for out in outputs)
    for mine, theirs in zip(found, wanted, strict=True):
        assert_close(mine, theirs, rtol=0.02, atol=0.02)
