import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from primaldual.errors import ArgumentError
from primaldual.estimators.splitting import check_fraction, class_weights, split_off_validation


@given(
    counts=st.lists(st.integers(1, 12), min_size=1, max_size=8),
    fraction=st.floats(0, 0.99),
    seed=st.integers(0, 5),
)
def test_the_parts_are_a_partition_that_keeps_every_class_in_training(counts, fraction, seed):
    groups = np.repeat(np.arange(len(counts)), counts)
    train, validation = split_off_validation(groups, fraction, seed)
    assert sorted([*train, *validation]) == list(range(len(groups)))
    assert set(groups[train]) == set(groups)
    assert len(validation) <= round(fraction * len(groups))
    shares = np.bincount(groups[validation], minlength=len(counts)) - fraction * np.array(counts)
    assert (shares < 1 + 1e-9).all()


def test_the_validation_part_has_the_wanted_size():
    groups = np.repeat(np.arange(26), 6)
    assert len(split_off_validation(groups, 0.1, 0)[1]) == round(0.1 * len(groups))


def test_tiny_data_has_no_validation_part():
    assert len(split_off_validation(np.array([0, 1, 2]), 0.3, 0)[1]) == 0
    assert len(split_off_validation(np.array([0, 0, 1]), 0.1, 0)[1]) == 0


def test_the_split_follows_the_seed():
    groups = np.zeros(40, dtype=int)
    assert (split_off_validation(groups, 0.2, 0)[1] == split_off_validation(groups, 0.2, 0)[1]).all()
    assert (split_off_validation(groups, 0.2, 0)[1] != split_off_validation(groups, 0.2, 1)[1]).any()


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
