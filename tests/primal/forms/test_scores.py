"""Pools, filters and masks that differ by query, by scores of the keys."""

import pytest
import torch
from torch.testing import assert_close

from primaldual import preset
from primaldual.primal import row_pairs

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
    "bn(running=true)+sh(1,2,3,4,prefix=2)",
]


@pytest.mark.parametrize("queries", [13, 4])
@pytest.mark.parametrize("spec", SPECS)
def test_equals_definition(monkeypatch, spec, queries):
    monkeypatch.setattr(row_pairs, "BLOCK_NUMBERS", 300)  # a few rows at a time
    torch.manual_seed(0)
    problem = preset(spec).bind(4, 6).double()
    with torch.no_grad():
        for parameter in problem.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    sizes = [(2, 4, queries, 6), (2, 2, 13, 6), (2, 2, 13, 5)]
    inputs = [torch.randn(size, dtype=torch.float64, requires_grad=True) for size in sizes]
    leaves = [*inputs, *problem.parameters()]
    for mask in (None, torch.rand(2, 1, queries, 13) > 0.4, torch.rand(1, 4, queries, 13) > 0.4):
        for is_causal in (False, True):
            out, wanted = (compute(*inputs, mask, is_causal) for compute in (problem.attend, problem.dense))
            assert_close(out, wanted)
            grads = [
                torch.autograd.grad(part.sin().sum(), leaves, allow_unused=True) for part in (out, wanted)
            ]
            for found, expected in zip(*grads, strict=True):
                assert_close(found, expected, rtol=1e-6, atol=1e-7)
            if mask is not None and problem.subset.pools(4):
                served = problem.explain(sizes[0], sizes[1], mask, is_causal)
                expected_form = "per query" if problem.transform.uses_statistics else "scores"
                assert expected_form in served.forms


def test_is_served_where_every_query_pools_anew():
    mask = torch.ones(1, 1, 64, 64, dtype=torch.bool)
    for spec, is_causal, given in (
        ("sh(2,2)", False, mask),
        ("conv2d(3)", True, None),
        ("anchored(2,2)", True, None),
    ):
        assert preset(spec).bind(2, 8).explain((1, 2, 64, 8), mask=given, is_causal=is_causal).forms == [
            "scores"
        ]
    assert preset("sh(2,2)").explain((1, 2, 64, 8), is_causal=True).forms == ["pieces"]
