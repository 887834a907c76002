import math

import pytest
import torch

from primaldual.errors import ArgumentError
from primaldual.training import Classification, Regression


def test_cross_entropy_by_hand():
    logits = torch.tensor([[math.log(3.0), 0.0]])
    assert Classification().loss(logits, torch.tensor([0])).item() == pytest.approx(-math.log(0.75))
    smooth = -0.9 * math.log(0.75) - 0.1 * math.log(0.25)
    assert Classification(0.2).loss(logits, torch.tensor([0])).item() == pytest.approx(smooth)


def test_accuracy_counts_the_largest_logit():
    logits = torch.tensor([[2.0, 1.0], [0.0, 1.0]])
    assert Classification().score(logits, torch.tensor([0, 0])).tolist() == [1.0, 0.0]
    assert Classification().metric(0.5) == 0.5


def test_squared_error_by_hand():
    losses = Regression().loss(torch.tensor([[1.0], [2.0]]), torch.tensor([0.0, 4.0]))
    assert losses.tolist() == [1.0, 4.0]


def test_regression_metric_has_the_units_of_the_target():
    assert Regression(target_scale=3.0).metric(4.0) == -6.0


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, "much"])
def test_label_smoothing_out_of_range_is_named(smoothing):
    with pytest.raises(ArgumentError, match="label_smoothing must lie in"):
        Classification(smoothing)
