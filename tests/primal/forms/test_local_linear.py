"""Attention with a slope, by blocks of heads and queries."""

import pytest
import torch
from tests.primal.forms.against_definition import check

from primaldual import LocalLinear, PrimalProblem, preset
from primaldual.primal.forms import local_linear

SPECS = [
    "lla(0.5)",
    "parallax",
    "parallax+window(3)",
    "parallax+forget",
    "lla(0.5)+alibi",
    "lla(0.5)+window(3)",
    "parallax+sh(1,2,3,4,weighted=true)",
]


@pytest.mark.parametrize("queries", [13, 4])
@pytest.mark.parametrize("spec", SPECS)
def test_equals_definition(monkeypatch, spec, queries):
    for name in ("BLOCK_NUMBERS", "PRODUCT_NUMBERS"):
        monkeypatch.setattr(local_linear, name, 70)  # five queries of one head at a time
    check(spec, queries, "local linear")


@pytest.mark.parametrize("spec", ["lla(0.5)", "parallax"])
def test_many_heads_are_taken_at_once(spec):
    check(spec, 13, "local linear")


def test_a_slope_of_ones_own_is_computed_by_its_definition():
    class Halved(LocalLinear):
        """Half the slope."""

        name = "halved"

        def dense_probe(self, *arguments):
            return super().dense_probe(*arguments) / 2

    problem = PrimalProblem(order=Halved(1.0))
    assert problem.explain((1, 2, 16, 4)).forms == ["dense"]
    query, key, value = torch.randn(3, 1, 2, 16, 4, dtype=torch.float64).unbind(0)
    plain, whole = (preset(spec).attend(query, key, value) for spec in ("softmax", "lla(1)"))
    torch.testing.assert_close(problem.attend(query, key, value), (plain + whole) / 2)


def test_what_it_does_not_serve_is_explained():
    explained = preset("lla+bn").explain((1, 2, 64, 8), is_causal=True)
    assert explained.forms == ["dense"]
    assert "statistics" in explained.served[0].refusals["local linear"]
    assert "slope" in explained.served[0].refusals["softmax"]
