import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from primaldual.errors import DataError
from primaldual.training.splitting import split_off_test, split_off_validation


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


@given(counts=st.lists(st.integers(1, 12), min_size=1, max_size=8))
def test_a_test_part_has_cases_or_is_refused(counts):
    groups = np.repeat(np.arange(len(counts)), counts)
    try:
        training, test = split_off_test(groups)
    except DataError:
        assert max(counts) == 1 or len(groups) < 3
    else:
        assert len(test) > 0
        assert sorted([*training, *test]) == list(range(len(groups)))


def test_too_few_cases_for_a_test_part_are_counted():
    with pytest.raises(DataError, match=r"a test part of 20% .* got 2 cases of 2 classes"):
        split_off_test(np.array([0, 1]))
