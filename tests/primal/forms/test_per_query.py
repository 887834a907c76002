"""Training keys of every query, a few queries at a time."""

import warnings

import pytest
import torch
from tests.primal.forms.against_definition import check

from primaldual import preset
from primaldual.errors import SlowAttentionWarning
from primaldual.primal import row_blocks
from primaldual.primal.forms import choice

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
