"""Pools, filters and masks that differ by query, by scores of the keys."""

import pytest
import torch
from tests.primal.forms.against_definition import check
from tests.quick import one_in

from primaldual import preset
from primaldual.primal import row_blocks

SPECS = [
    "sh(1,2,3,4)",
    "sh(2,2,3,4,prefix=2)",
    "sh(2,2,3,4,weighted=true)",
    "sh(1,2,3,4,prefix=1,suffix=2)",
    "sh(2,3,1,4,grid=3x4,prefix=1)",
    "anchored(1,2,3,4)",
    "anchored(1,2,3,4,kept=0.5)",
    "anchored(2,2,3,4,prefix=1,suffix=2)",
    "conv(3)",
    "conv(5,prefix=2)",
    "conv2d(3,grid=3x4,prefix=1)",
    "conv(3)+sh(1,2,3,4)",
    "window(3)+conv(3)",
    "bn",
    "window(3)+bn",
    "bn+sh(1,2,3,4)",
    "bn(running=true)+sh(1,2,3,4,prefix=2)",
    "bn(beta=0.6,gain=0.3)+sh(2,3,2,4,suffix=2)",
    "bn(learnable=true,scale=none)+sh(2,3,2,4,grid=3x4,prefix=1)",
    "anchored(1,2,3,4)+bn",
    "anchored(1,2,3,4,kept=0.5)+bn",
    "conv(3)+bn+anchored(1,2,3,4,kept=0.5)",
    "conv(3,causal=true)+bn+anchored(1,2,3,4,kept=0.5)",
    "conv(3)+bn",
    "conv2d(3)+bn+sh(1,2,2,3,grid=3x4,prefix=1)",
    "window(2)|sh(1,2,3,4)+bn",
    "forget+bn+sh(1,2,3,4)",
]


@pytest.mark.parametrize(
    ("spec", "queries"), one_in(3, ((spec, queries) for spec in SPECS for queries in (13, 4)))
)
def test_equals_definition(monkeypatch, spec, queries):
    monkeypatch.setattr(row_blocks, "BLOCK_NUMBERS", 75)  # a few rows at a time
    monkeypatch.setattr(row_blocks, "FEWEST_ROWS", 2)
    check(spec, queries, "scores")


def test_is_served_where_every_query_pools_anew():
    mask = torch.ones(1, 1, 64, 64, dtype=torch.bool)
    for spec, is_causal, given in (
        ("sh(2,2)", False, mask),
        ("conv2d(3)", True, None),
        ("anchored(2,2,kept=0.5)", True, None),
        ("sh(2,2,grid=8x8)", True, None),
    ):
        assert preset(spec).bind(2, 8).explain((1, 2, 64, 8), mask=given, is_causal=is_causal).forms == [
            "scores"
        ]
    assert preset("sh(2,2)").explain((1, 2, 64, 8), is_causal=True).forms == ["pieces"]
    assert preset("anchored(2,2)").explain((1, 2, 64, 8), is_causal=True).forms == ["softmax"]


MEANS = {"near": 0.0, "far from 0": 300.0}


@pytest.mark.parametrize("mean", MEANS.values(), ids=MEANS)
@pytest.mark.parametrize(
    "spec", ["bn", "bn+sh(2,3)", "conv(3)+bn", "window(9)|sh(4)+bn", "linear+bn", "sink(0)+bn"]
)
def test_rounds_no_worse_than_the_definition(spec, mean):
    """Some queries see few keys, or only those of a tight cluster apart from the others: these are taken in float64."""
    torch.manual_seed(0)
    length = 160
    tensors = torch.randn(3, 1, 2, length, 8) + torch.tensor([mean, mean, 0.0]).view(3, 1, 1, 1, 1)
    cluster = torch.arange(length) < 70
    tensors[1, :, :, cluster] = mean + 40 + 0.01 * torch.randn(1, 2, 70, 8)
    mask = torch.rand(1, 1, length, length) > 0.3
    mask[:, :, 80:120] = mask[:, :, 80:120] & cluster
    problem = preset(spec).bind(2, 8)
    found = []
    for name, dtype in (("attend", torch.float32), ("dense", torch.float32), ("dense", torch.float64)):
        inputs = [part.to(dtype).requires_grad_() for part in tensors]
        out = getattr(problem.to(dtype), name)(*inputs, mask, True)
        grads = torch.autograd.grad(out.sin().sum(), inputs)
        found.append([part.detach().double() for part in (out, *grads)])
    for fast, dense, exact in zip(*found, strict=True):
        size = exact.abs().amax()
        assert (fast - exact).abs().amax() <= 2 * (dense - exact).abs().amax() + 1e-5 * size


def test_most_queries_of_ordinary_keys_are_taken_in_their_own_type(monkeypatch):
    """Otherwise statistics cost twice as much without need."""
    seen = []

    def count(query, *rest):
        seen.append((query.dtype, query.shape[2]))
        return original(query, *rest)

    original = row_blocks.row_attention
    monkeypatch.setattr(row_blocks, "row_attention", count)
    torch.manual_seed(0)
    preset("bn").attend(*torch.randn(3, 1, 2, 400, 8).unbind(0), torch.rand(1, 1, 400, 400) > 0.3, True)
    assert sum(rows for dtype, rows in seen if dtype == torch.float32) == 400
    assert 0 < sum(rows for dtype, rows in seen if dtype == torch.float64) < 120
