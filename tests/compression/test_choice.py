from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from primaldual.compression.choice import choose
from primaldual.errors import ArgumentError


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 5), st.floats(0.3, 1.0))
def test_no_other_choice_within_the_budget_is_better(seed, heads, share):
    random = np.random.default_rng(seed)
    losses, costs = random.random((heads, 3)), random.random((heads, 3))
    budget = max(costs.min(1).sum(), share * costs.max(1).sum())
    chosen = choose(losses.tolist(), costs.tolist(), budget)
    rows = np.arange(heads)
    assert costs[rows, chosen].sum() <= budget * (1 + 1e-6)
    best = min(
        losses[rows, list(option)].sum()
        for option in product(range(3), repeat=heads)
        if costs[rows, list(option)].sum() <= budget
    )
    assert losses[rows, chosen].sum() == pytest.approx(best, rel=1e-6)


def test_a_budget_below_the_cheapest_choice_is_refused():
    with pytest.raises(ArgumentError, match=r"cheapest choice, which costs 0\.5"):
        choose([[0.0, 1.0]], [[1.0, 0.5]], 0.4)


def test_losses_of_zero_are_no_trouble():
    assert choose([[0.0, 0.0]], [[1.0, 0.5]], 0.7) == [1]
