"""Pools, filters and masks that differ by query, by scores of the keys."""

import pytest
import torch
from tests.primal.forms.against_definition import check

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
]


@pytest.mark.parametrize("queries", [13, 4])
@pytest.mark.parametrize("spec", SPECS)
def test_equals_definition(monkeypatch, spec, queries):
    monkeypatch.setattr(row_pairs, "BLOCK_NUMBERS", 300)  # a few rows at a time
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
