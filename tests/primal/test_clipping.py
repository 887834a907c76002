"""Clipping against attention to clipped tensors."""

import math

import pytest
import torch
from torch.testing import assert_close

from primaldual import Clip, preset
from primaldual.errors import ArgumentError


def tensors():
    return torch.randn(3, 2, 2, 9, 4, generator=torch.Generator().manual_seed(0)).double().unbind(0)


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("rest", ["", "+window(2)", "+alibi", "+linear"])
def test_it_is_attention_to_clipped_queries_and_keys(rest, is_causal):
    query, key, value = tensors()
    plain = preset(rest.removeprefix("+") or "softmax")
    wanted = plain.attend(query.clamp(-0.5, 0.5), key.clamp(-0.5, 0.5), value, is_causal=is_causal)
    assert_close(preset(f"clip(0.5){rest}").attend(query, key, value, is_causal=is_causal), wanted)


@pytest.mark.parametrize("is_causal", [False, True])
def test_pooled_keys_are_clipped_as_pools(is_causal):
    query, key, value = tensors()
    problem = preset("clip(0.5)+sh(1,3)")
    assert_close(
        problem.attend(query, key, value, is_causal=is_causal),
        problem.dense(query, key, value, is_causal=is_causal),
    )


def test_a_wide_threshold_changes_nothing():
    query, key, value = tensors()
    assert_close(preset("clip(100)").attend(query, key, value), preset("softmax").attend(query, key, value))


@pytest.mark.parametrize("form", ["attend", "dense"])
def test_a_number_at_the_threshold_has_a_gradient_and_one_beyond_has_none(form):
    key = torch.tensor([[[[-2.0], [-1.0], [0.5], [1.0], [3.0]]]], requires_grad=True)
    (found,) = torch.autograd.grad(
        getattr(preset("clip(1)"), form)(torch.ones(1, 1, 1, 1), key, key.detach()).sum(), key
    )
    assert (found != 0).flatten().tolist() == [False, True, True, True, False]


@pytest.mark.parametrize("threshold", [0, -1, math.nan])
def test_a_threshold_is_above_0(threshold):
    with pytest.raises(ArgumentError, match="threshold"):
        Clip(threshold)
