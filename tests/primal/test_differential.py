"""Differential attention against two calls of PyTorch's attention, and what it refuses."""

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention
from torch.testing import assert_close

import primaldual as pdl
from primaldual import Differential, PrimalProblem, preset
from primaldual.errors import ArgumentError, UnsupportedError

HEADS, LENGTH, WIDTH = 2, 9, 6
SHARES = torch.tensor([0.4, -0.2], dtype=torch.float64)


def tensors(kv_heads=HEADS, value_dim=WIDTH):
    generator = torch.Generator().manual_seed(0)
    shapes = (HEADS, WIDTH), (kv_heads, WIDTH), (kv_heads, value_dim)
    return [torch.randn(2, heads, LENGTH, width, generator=generator).double() for heads, width in shapes]


def bound(spec, head_dim=WIDTH):
    problem = preset(spec).bind(HEADS, head_dim).double()
    with torch.no_grad():
        problem.solver.share.copy_(SHARES)
    return problem


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize(("kv_heads", "value_dim"), [(HEADS, WIDTH), (1, 5)])
def test_it_is_the_difference_of_two_attentions(kv_heads, value_dim, is_causal):
    query, key, value = tensors(kv_heads, value_dim)
    first, second = (
        scaled_dot_product_attention(
            query[..., half], key[..., half], value, is_causal=is_causal, enable_gqa=True
        )
        for half in (slice(0, 3), slice(3, 6))
    )
    wanted = first - SHARES[:, None, None] * second
    problem = bound("differential")
    for form in (problem.attend, problem.dense):
        assert_close(form(query, key, value, is_causal=is_causal), wanted)
    assert_close(problem.weights(query, key).sum(-1)[0, :, 0], 1 - SHARES)


def test_a_share_of_0_is_the_first_half_and_equal_halves_cancel():
    query, key, value = tensors()
    alone = preset("differential(0)").bind(HEADS, WIDTH).double()
    wanted = scaled_dot_product_attention(query[..., :3], key[..., :3], value)
    assert_close(alone.attend(query, key, value), wanted)
    twice = [torch.cat([tensor[..., :3]] * 2, -1) for tensor in (query, key)]
    assert_close(bound("differential").attend(*twice, value), (1 - SHARES)[:, None, None] * wanted)


def test_other_choices_hold_for_each_half():
    query, key, value = tensors()
    for spec in ("bn(beta=0.5)", "linear+window(2)", "conv(3)+alibi", "sink(0.3)+window(1)|sh(2)"):
        plain = preset(spec).bind(HEADS, WIDTH // 2).double()
        first, second = (
            plain.attend(query[..., half], key[..., half], value) for half in (slice(0, 3), slice(3, 6))
        )
        found = bound(f"{spec}+differential").attend(query, key, value)
        assert_close(found, first - SHARES[:, None, None] * second)


def test_decoding_takes_few_queries():
    query, key, value = tensors()
    problem = bound("differential")
    state = problem.init_state(2, HEADS, WIDTH, dtype=torch.float64)
    steps = [
        problem.step(state, *(tensor[:, :, i : i + 1] for tensor in (query, key, value)))
        for i in range(LENGTH)
    ]
    whole = problem.attend(query, key, value, is_causal=True)
    assert_close(torch.cat(steps, 2), whole)
    assert_close(problem.attend(query[:, :, -2:], key, value, is_causal=True), whole[:, :, -2:])


def test_what_has_no_meaning():
    with pytest.raises(
        ArgumentError,
        match=r"differential\(0.8\) takes queries and keys in 2 parts of equal width; got head_dim 5",
    ):
        preset("differential").bind(HEADS, 5)
    with pytest.raises(ArgumentError, match=r"call problem\.bind"):
        preset("differential").attend(*tensors())
    with pytest.raises(UnsupportedError, match=r"cuts the keys, and bn\(running=true\) keeps"):
        preset("bn(running=true)+differential")
    with pytest.raises(UnsupportedError, match=r"differential\(0.8\) .*no coefficients of one expansion"):
        pdl.solve("differential", torch.randn(5, 2), torch.randn(5, 2))


def test_explain_counts_both_halves():
    found = preset("differential").explain((1, 2, 64, 8))
    alone = PrimalProblem().explain((1, 2, 64, 8)).operations
    assert found.forms == ["softmax"]
    assert found.operations == alone * 3 // 2
    assert Differential(0.5).spec() == "differential(0.5)"
