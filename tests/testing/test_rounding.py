"""The rounding rule: errors, floors, and what a dtype cannot hold."""

import pytest
import torch

from primaldual import preset
from primaldual.testing.families import Inputs, draw
from primaldual.testing.rounding import BARS, FLOORS, PARTS, measure_rounding, relative_error


def test_errors_are_relative_and_small_references_do_not_magnify_them():
    wanted, value = torch.tensor([3.0, 4.0]), torch.tensor([1.0, 0.0])
    assert relative_error(wanted + torch.tensor([0.0, 0.5]), wanted, value) == pytest.approx(0.1)
    assert relative_error(torch.full((2,), 1e-3), torch.zeros(2), value) == pytest.approx(2**0.5 * 0.1)
    assert relative_error(torch.tensor([0.3]), torch.zeros(1), torch.zeros(1)) == pytest.approx(0.3)


@pytest.mark.parametrize("dtype", BARS)
def test_the_definition_beside_itself_is_within_one(dtype):
    problem = preset("linear")
    problem.attend = problem.dense
    found = measure_rounding(problem, draw("random", (2, 2, 20, 4)), dtype, True)
    assert tuple(found.ratios) == tuple(found.attend) == PARTS
    assert 0 < max(found.ratios.values()) <= 1
    assert found.attend == found.dense
    assert all(
        ratio == found.dense[part] / max(found.dense[part], FLOORS[dtype])
        for part, ratio in found.ratios.items()
    )
    assert (found.attend_nonfinite, found.dense_nonfinite, found.beyond_range) == (0, 0, False)


def test_nan_counts_as_infinitely_wrong():
    problem = preset("softmax")
    problem.attend = lambda *inputs: problem.dense(*inputs) * torch.nan
    found = measure_rounding(problem, draw("random", (1, 2, 5, 4)), torch.float32, False)
    assert found.ratios["output"] == torch.inf
    assert found.attend_nonfinite == 4 * 40
    assert found.dense_nonfinite == 0


@pytest.mark.parametrize(
    ("spec", "size", "beyond"),
    [
        ("softmax", 30.0, False),  # exp(x.y) overflows, but stays in logarithms
        ("constant", 10.0, True),  # exp(x.y) itself
        ("taylor(2)", 100.0, True),  # the square of x.y
        ("taylor(2)", 1.0, False),
    ],
)
def test_what_float16_cannot_hold_is_told_apart(spec, size, beyond):
    query, key, value, _ = draw("random", (1, 2, 20, 4))
    found = measure_rounding(preset(spec), Inputs(size * query, size * key, value), torch.float16, False)
    assert found.beyond_range == beyond
    assert beyond or not found.dense_nonfinite
