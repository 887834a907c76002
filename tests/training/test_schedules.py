from itertools import pairwise

import pytest

from primaldual.training.schedules import SCHEDULES, constant, cosine, learning_rate_factor


@pytest.mark.parametrize("schedule", SCHEDULES.values())
def test_schedules_start_at_one_and_stay_in_range(schedule):
    factors = [schedule(step / 10) for step in range(11)]
    assert factors[0] == 1.0
    assert all(0 <= later <= sooner for sooner, later in pairwise(factors))


def test_warm_up_is_linear_and_ends_at_the_top():
    factors = [learning_rate_factor(constant, step, 4, 10) for step in range(10)]
    assert factors == [0.25, 0.5, 0.75, 1.0] + [1.0] * 6


def test_without_warm_up_the_schedule_covers_all_steps():
    assert learning_rate_factor(cosine, 0, 0, 10) == 1.0
    assert learning_rate_factor(cosine, 5, 0, 10) == pytest.approx(0.5)


def test_a_warm_up_longer_than_training_is_no_obstacle():
    assert [learning_rate_factor(cosine, step, 4, 2) for step in range(2)] == [0.25, 0.5]
