"""Training keys of every query, a few queries at a time."""

import warnings

import pytest
import torch
from tests.primal.forms.against_definition import check

from primaldual import preset
from primaldual.errors import SlowAttentionWarning
from primaldual.primal import row_blocks
from primaldual.primal.forms import choice
from primaldual.testing.inputs import prepared, tensors

SPECS = [
    "bn+conv(3)",
    "linear",
    "linear+bn",
    "linear+constant+bn",
    "linear+sh(1,2,3,3)",
    "linear+anchored(1,2,3,4)",
    "linear+conv(3)+bn+sh(1,2,3,3)",
    "random(16)+bn",
    "taylor(2)+bn+sh(2,2,3,3)",
]


@pytest.mark.parametrize("queries", [13, 4])
@pytest.mark.parametrize("spec", SPECS)
def test_equals_definition(monkeypatch, spec, queries):
    monkeypatch.setattr(row_blocks, "BLOCK_NUMBERS", 500)  # a few rows at a time
    check(spec, queries, "per query")


@pytest.mark.parametrize("query_length", [1, 3, 12])
@pytest.mark.parametrize(
    "spec",
    [
        "bn+conv(3,prefix=2)+window(2)",
        "bn+conv2d(3,grid=3x4)+window(2)",
        "conv(3)+bn+conv2d(3,grid=3x4)+window(2)",
        "elliptical+clip(0.3)+forget",
        "elliptical+clip(0.3)+window(2)",
    ],
)
def test_what_follows_from_places_among_all_keys_and_sequences_stays(monkeypatch, spec, query_length):
    """Blocks of queries see all keys of a grid or behind a prefix, and numbers of all positions in all sequences."""
    monkeypatch.setattr(row_blocks, "BLOCK_NUMBERS", 50)
    monkeypatch.setattr(row_blocks, "FEWEST_ROWS", 1)
    problem = prepared(preset(spec), 2, 4).double()
    inputs = tensors(2, 4, 12, query_length=query_length, batch=3)
    mask = torch.rand(3, 1, 1, 12, generator=torch.Generator().manual_seed(0)) > 0.3
    results = []
    for call in (problem.attend, problem.dense):
        out = call(*inputs, mask, is_causal=True)
        seed = torch.randn(out.shape, generator=torch.Generator().manual_seed(1), dtype=out.dtype)
        results.append([out.detach(), *torch.autograd.grad(out, inputs, seed)])
    for found, wanted in zip(*results, strict=True):
        torch.testing.assert_close(found, wanted)


def test_two_close_keys_far_from_the_origin_keep_their_variance():
    """As a difference of mean squares it would lose the digits in which 1e3 exceeds 1e-4, twice."""
    key = 1e3 + 1e-4 * torch.randn(1, 1, 6, 3, generator=torch.Generator().manual_seed(0)).double()
    query, value = key + 1e-4, torch.eye(6).double()[None, None]
    mask = torch.zeros(6, 6).bool()
    mask[torch.arange(6), torch.arange(6)] = mask[torch.arange(6), (torch.arange(6) + 2) % 6] = True
    leaves = [tensor.requires_grad_() for tensor in (query, key, value)]
    for spec in ("linear+bn(eps=1e-12)", "bn(eps=1e-12)", "window(5)|window(0)+bn(eps=1e-12)"):
        problem = preset(spec)
        results = []
        for call in (problem.attend, problem.dense):
            out = call(*leaves, mask)
            results.append([out.detach(), *torch.autograd.grad(out[..., :2].square().sum(), leaves)])
        for found, wanted in zip(*results, strict=True):
            scale = float(wanted.abs().max())
            torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6 * scale)


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


def test_a_single_pair_of_bn_is_its_mean_to_the_last_digit():
    problem = preset("polynomial(1)+sink(0.5,learnable=false)+bn+anchored(7)").bind(1, 3)
    query, key = torch.randn(2, 1, 1, 6, 3).unbind(0)
    mask = torch.tensor([True, True, True, False, False, False]).view(1, 1, 1, 6)
    for method in (problem.attend, problem.dense):
        assert torch.equal(method(query, key, key, mask), torch.zeros_like(key))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("spec", ["linear+bn", "random(8)+bn", "conv(3)+linear+bn", "linear+bn+sh(1,2)"])
def test_without_gradients_statistics_of_many_queries_serve_a_few_at_a_time(monkeypatch, spec, dtype):
    monkeypatch.setattr(row_blocks, "BLOCK_NUMBERS", 2 * 80 * 4 * 5)  # five queries of twenty
    problem = preset(spec).bind(2, 4)
    generator = torch.Generator().manual_seed(0)
    query, key, value = torch.randn(3, 1, 2, 80, 4, generator=generator).to(dtype).unbind(0)
    key = key + torch.linspace(0, 3, 80)[:, None].to(dtype)  # statistics differ from query to query
    mask = (torch.rand(80, 80, generator=generator) > 0.3) | torch.eye(80, dtype=torch.bool)
    for given in ((None, True), (mask, False), (mask, True)):
        with torch.no_grad():
            found = problem.to(dtype).attend(query, key, value, *given)
            wanted = problem.double().dense(query.double(), key.double(), value.double(), *given)
        torch.testing.assert_close(
            found.double(), wanted, rtol=0, atol=1e-12 if dtype == torch.float64 else 1e-5
        )
