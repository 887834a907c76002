"""Weights of pairs against numbers added to scores."""

import math

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention
from torch.testing import assert_close

from primaldual import Alibi, preset, solve
from primaldual.errors import ArgumentError, UnsupportedError
from primaldual.primal.forms import biased

HEADS, LENGTH, WIDTH = 4, 23, 6
SLOPES = torch.tensor([2.0 ** (-8 * (head + 1) / HEADS) for head in range(HEADS)]).double()


def tensors(query_length=LENGTH, length=LENGTH, kv_heads=HEADS):
    torch.manual_seed(0)
    query = torch.randn(2, HEADS, query_length, WIDTH, dtype=torch.float64, requires_grad=True)
    pairs = torch.randn(2, 2, kv_heads, length, WIDTH, dtype=torch.float64).unbind(0)
    return [query, *(tensor.requires_grad_() for tensor in pairs)]


def linear_bias(query_length, length, slopes=SLOPES):
    position = torch.arange(query_length) + length - query_length
    return -slopes.view(-1, 1, 1) * (position[:, None] - torch.arange(length)).abs()


def assert_same(found, wanted, leaves):
    assert_close(found, wanted, rtol=1e-9, atol=1e-10)
    seed = torch.randn_like(found)
    grads = (torch.autograd.grad(out, leaves, seed, retain_graph=True) for out in (found, wanted))
    for one, other in zip(*grads, strict=True):
        assert_close(one, other, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("rows", [3, 256])
@pytest.mark.parametrize("mask", ["none", "padding", "pairs"])
@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize(("query_length", "kv_heads"), [(LENGTH, HEADS), (9, 2)])
def test_alibi_equals_a_bias_in_torch(query_length, kv_heads, is_causal, mask, rows, monkeypatch):
    monkeypatch.setattr(biased, "BLOCK_ROWS", rows)
    inputs = tensors(query_length, kv_heads=kv_heads)
    masks = {
        "none": None,
        "padding": torch.arange(LENGTH) < torch.tensor([LENGTH, 15])[:, None, None, None],
        "pairs": torch.rand(2, 1, query_length, LENGTH) > 0.4,
    }
    given = masks[mask]
    allowed = torch.ones(2, 1, query_length, LENGTH, dtype=torch.bool) if given is None else given
    allowed = allowed.expand(2, 1, query_length, LENGTH)
    if is_causal:
        allowed = allowed & (
            torch.arange(LENGTH) <= torch.arange(query_length)[:, None] + LENGTH - query_length
        )
    bias = linear_bias(query_length, LENGTH).masked_fill(~allowed, -torch.inf)
    wanted = scaled_dot_product_attention(*inputs, attn_mask=bias, enable_gqa=True)
    wanted = torch.where(allowed.any(-1, keepdim=True), wanted, 0.0)
    problem = preset("alibi")
    assert_same(problem.attend(*inputs, given, is_causal), wanted, inputs)
    assert_same(problem.dense(*inputs, given, is_causal), wanted, inputs)


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("spec", ["bn", "linear", "bn(beta=0.7)"])
def test_weights_of_positions_are_multiplied_and_normalised_anew(spec, is_causal):
    inputs = [tensor.detach() for tensor in tensors()]
    plain = preset(spec).weights(*inputs[:2], is_causal=is_causal)
    expected = plain * linear_bias(LENGTH, LENGTH).exp()
    wanted = expected / expected.sum(-1, keepdim=True) @ inputs[2]
    assert_close(preset(f"{spec}+alibi").attend(*inputs, is_causal=is_causal), wanted)


@pytest.mark.parametrize("is_causal", [False, True])
def test_half_precision_counts_beyond_256_positions(is_causal):
    torch.manual_seed(0)
    tensors = torch.randn(3, 1, 2, 600, WIDTH, dtype=torch.bfloat16).unbind(0)
    problem = preset("alibi(0.05,1)")
    wanted = problem.dense(*(tensor.double() for tensor in tensors), is_causal=is_causal)
    for compute in (problem.attend, problem.dense):
        assert_close(compute(*tensors, is_causal=is_causal).double(), wanted, rtol=0.05, atol=0.02)


def test_more_causal_queries_than_keys(monkeypatch):
    monkeypatch.setattr(biased, "BLOCK_ROWS", 3)
    inputs = [tensor.detach() for tensor in tensors(19, 4)]
    problem = preset("alibi")
    assert_close(problem.attend(*inputs, is_causal=True), problem.dense(*inputs, is_causal=True))


def test_pools_by_hand():
    """Query 0 of slope log 2: its own window {0, 1} has distance 1/2, {2, 3} has 5/2, so weights are 4 : 1."""
    zero, value = (
        torch.zeros(1, 1, 4, 1).double(),
        torch.tensor([5.0, 5.0, 0.0, 0.0]).double().view(1, 1, 4, 1),
    )
    out = preset(f"sh(2)+alibi({math.log(2)})").attend(zero, zero, value)
    assert_close(out[0, 0, 0, 0], torch.tensor(4.0).double())


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize(
    "spec", ["sh(1,2,3,4)", "sh(2,grid=4x5,prefix=3)", "window(3)|sh(4)", "sink(0.3)+bn+sh(3)"]
)
def test_pools_in_any_order_have_the_means_of_their_members(spec, is_causal):
    inputs = tensors()
    problem = preset(f"{spec}+alibi")
    assert_same(
        problem.attend(*inputs, is_causal=is_causal), problem.dense(*inputs, is_causal=is_causal), inputs
    )


def test_decodes_as_the_whole():
    query, key, value = (each.detach().float() for each in tensors())
    problem = preset("bn+alibi")
    state = problem.init_state(2, HEADS, WIDTH)
    steps = [problem.step(state, *(t[:, :, i : i + 1] for t in (query, key, value))) for i in range(LENGTH)]
    assert_close(torch.cat(steps, 2), problem.dense(query, key, value, is_causal=True), rtol=1e-4, atol=1e-5)


def test_spec_heads_and_refusals():
    assert preset("alibi(0.5,0,2)").spec() == "alibi(0.5,0,2)"
    kept = preset("alibi").bind(4, 6).keep_heads([1, 3], 4)
    assert kept.pair_weights.slopes == (2.0**-4, 2.0**-8)
    with pytest.raises(ArgumentError, match="slopes must be a number from 0 to"):
        Alibi(-1)
    with pytest.raises(ArgumentError, match="slopes must hold one number for each of the 4 heads; got 2"):
        preset("alibi(1,2)").bind(4, 6)
    with pytest.raises(UnsupportedError, match="weighs pairs by the query"):
        solve(preset("alibi"), torch.randn(1, 1, 5, 2), torch.randn(1, 1, 5, 1), C=1.0)
