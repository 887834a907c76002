import pytest
import torch

from primaldual.errors import ShapeError
from primaldual.models.case_attention import FLOOR, CaseAttention, standard_units


def filled(attention):
    torch.manual_seed(0)
    model = CaseAttention(2, 20, 3, cases=6, kernels=5, attention=attention)
    series = torch.randn(6, 20, 2)
    model.features.draw(series, None, torch.Generator().manual_seed(0))
    features = model.features(series).double()
    mean, deviation = standard_units(features)
    for name, tensor in {
        "mean": mean,
        "deviation": deviation,
        "keys": (features - mean) / deviation,
        "values": torch.randn(6, 3),
        "intercept": torch.randn(3),
    }.items():
        getattr(model, name).copy_(tensor)
    return model


@pytest.mark.parametrize("attention", ["softmax(scale=2.0)", "softmax", "taylor(1)+constant", "linear"])
def test_the_output_is_the_definition_of_attention_over_the_cases(attention):
    model = filled(attention)
    series = torch.randn(4, 20, 2)
    query = (model.features(series).double() - model.mean) / model.deviation
    parts = (part[None, None] for part in (query, model.keys, model.values))
    torch.testing.assert_close(model(series), model.problem.dense(*parts)[0, 0] + model.intercept)


def test_softmax_by_hand():
    model = filled("softmax(scale=2.0)")
    series = torch.randn(4, 20, 2)
    query = (model.features(series).double() - model.mean) / model.deviation
    expected = (2 * query @ model.keys.T).softmax(1) @ model.values + model.intercept
    torch.testing.assert_close(model(series), expected)


def test_units_by_hand():
    features = torch.tensor([[0.0, 0.5], [1.0, 0.5]], dtype=torch.float64)
    mean, deviation = standard_units(features)
    share = 0.25 / (0.25 + FLOOR**2)
    torch.testing.assert_close(mean, torch.tensor([0.5, 0.5], dtype=torch.float64))
    expected = torch.tensor([0.25 + FLOOR**2, FLOOR**2], dtype=torch.float64).sqrt() * share**0.5
    torch.testing.assert_close(deviation, expected)


def test_features_that_are_all_alike_are_divided_by_something():
    _, deviation = standard_units(torch.ones(4, 3, dtype=torch.float64))
    assert (deviation > 0).all()


def test_shapes_are_checked():
    model = CaseAttention(2, 20, 3, cases=6, kernels=5)
    with pytest.raises(
        ShapeError, match=r"values must be \(batch, time points, 2 channels\); got \(4, 20, 3\)"
    ):
        model(torch.randn(4, 20, 3))
    with pytest.raises(ShapeError, match=r"padding_mask must be \(4, 20\) like values; got \(4, 19\)"):
        model(torch.randn(4, 20, 2), torch.zeros(4, 19, dtype=torch.bool))
