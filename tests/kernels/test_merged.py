"""Several sets of pairs, each by its own kernel, in one softmax."""

import math

import pytest
import torch
from torch.testing import assert_close

from primaldual.kernels.flash import FlashCall
from primaldual.kernels.masks import band_mask
from primaldual.kernels.merged import EarlierKeys, MergedCall, RecentKeys, attention_of, later
from primaldual.kernels.window import window_call


def column(*numbers):
    return torch.tensor(numbers, dtype=torch.float64).view(1, 1, -1, 1)


def tensors(count, length):
    torch.manual_seed(0)
    return [torch.randn(2, 3, length, 4, dtype=torch.float64, requires_grad=True) for _ in range(count)]


def assert_same(found, wanted, leaves):
    assert_close(found, wanted)
    seed = torch.randn_like(found)
    grads = (torch.autograd.grad(out, leaves, seed, allow_unused=True) for out in (found, wanted))
    for a, b in zip(*grads, strict=True):
        assert_close(
            torch.zeros(()) if a is None else a, torch.zeros(()) if b is None else b, check_dtype=False
        )


def test_by_hand():
    """Query 1 scores key 0 as earlier: exp(log 2) to value 3; key 1 as recent: exp(log 4) to value 9."""
    value = column(3, 9)
    earlier = EarlierKeys(FlashCall(column(math.log(2)), column(3), 1.0, is_causal=True), 1)
    recent = RecentKeys((column(math.log(4), math.log(4)),), value, 1.0)
    out = attention_of(MergedCall((recent, earlier)), column(1, 1))
    assert_close(out, column(3, (2 * 3 + 4 * 9) / 6))


@pytest.mark.parametrize("length", [3, 4, 11])
@pytest.mark.parametrize("masked", [False, True])
def test_earlier_and_recent_keys_equal_one_softmax_over_both(length, masked):
    query, key, value, *others = leaves = tensors(5, length)
    mask = torch.rand(2, 1, 1, length) > 0.4 if masked else None
    settled = FlashCall(
        key[:, :, :-2], value[:, :, :-2], 0.7, None if mask is None else mask[..., :-2], is_causal=True
    )
    recent = RecentKeys(tuple(others), value, 0.7, mask)
    found = attention_of(MergedCall((recent, EarlierKeys(settled, 2))), query)
    scores = 0.7 * query @ key.mT
    for place, other in enumerate(others):
        own = 0.7 * (query * later(other, place)).sum(-1)
        beside = torch.arange(length)[:, None] - torch.arange(length) == place
        scores = torch.where(beside, own.unsqueeze(-1), scores)
    allowed = torch.ones(length, length, dtype=torch.bool).tril()
    allowed = allowed if mask is None else allowed & mask
    assert_same(found, scores.masked_fill(~allowed, -torch.inf).softmax(-1).nan_to_num() @ value, leaves)


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_a_window_and_keys_under_a_mask_equal_one_softmax_over_both(is_causal, masked):
    """Some queries have pairs in one of the two only, some in none."""
    length, radius = 90, 3
    query, key, value, other, other_value = leaves = tensors(5, length)
    mask = torch.rand(2, 1, 1, length) > 0.8 if masked else None
    pairs = torch.rand(2, 1, length, length) > 0.98
    window = window_call(key, value, radius, key_mask=mask, is_causal=is_causal, scale=0.7)
    found = attention_of(MergedCall((window, FlashCall(other, other_value, 0.7, pairs))), query)
    band = band_mask(length, length, radius)
    band = band.tril() if is_causal else band
    band = (band if mask is None else band & mask).expand(2, 1, -1, -1)
    scores = 0.7 * query @ torch.cat([key, other], 2).mT
    weights = scores.masked_fill(~torch.cat([band, pairs], -1), -torch.inf).softmax(-1).nan_to_num()
    assert_same(found, weights @ torch.cat([value, other_value], 2), leaves)
