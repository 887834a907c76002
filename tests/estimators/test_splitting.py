import numpy as np
import pytest

from primaldual.errors import ArgumentError
from primaldual.estimators.splitting import check_fraction, class_weights


@pytest.mark.parametrize("fraction", [-0.1, 1.0, 1, True, "some", None])
def test_a_bad_fraction_is_named(fraction):
    with pytest.raises(ArgumentError, match=r"validation_fraction must lie in \[0, 1\)"):
        check_fraction(fraction)


def test_class_weights():
    labels, classes = np.array([0, 0, 0, 1]), np.array(["a", "b"])
    assert class_weights(labels, classes, None).tolist() == [1.0, 1.0]
    assert class_weights(labels, classes, {"b": 3}).tolist() == [1.0, 3.0]
    balanced = class_weights(labels, classes, "balanced")
    assert balanced[labels].sum() == pytest.approx(4.0)
    assert balanced[1] == 3 * balanced[0]


@pytest.mark.parametrize(
    ("given_weight", "message"),
    [
        ("fair", "class_weight must be None, 'balanced' or a mapping; got 'fair'"),
        ({"c": 1.0}, "class_weight names 'c'; the labels are a, b"),
        ({"a": 0.0}, "class_weight must hold finite positive numbers; got 0.0 for 'a'"),
        ({"a": "much"}, "class_weight must hold finite positive numbers; got 'much' for 'a'"),
    ],
)
def test_bad_class_weights_are_named(given_weight, message):
    with pytest.raises(ArgumentError, match=message):
        class_weights(np.array([0, 1]), np.array(["a", "b"]), given_weight)
