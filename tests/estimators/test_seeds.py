import numpy as np
import pytest

from primaldual.errors import ArgumentError
from primaldual.estimators.seeds import seed_from


def test_integers_are_seeds():
    assert seed_from(7) == seed_from(np.int64(7)) == 7


def test_a_random_state_moves_on():
    state = np.random.RandomState(0)
    assert seed_from(state) != seed_from(state)


def test_none_is_fresh_and_leaves_the_global_generator_alone():
    before = np.random.get_state()[1].tolist()
    assert seed_from(None) != seed_from(None)
    assert before == np.random.get_state()[1].tolist()


@pytest.mark.parametrize("random_state", [-1, True, "seed", 1.5])
def test_anything_else_is_named(random_state):
    with pytest.raises(ArgumentError, match="random_state must be None, an integer of at least 0"):
        seed_from(random_state)
