"""From what scikit-learn calls a random state to one seed."""

from typing import Any

import numpy as np

from primaldual.errors import ArgumentError


def seed_from(random_state: Any) -> int:
    """One seed, without touching NumPy's global generator."""
    if random_state is None:
        return int(np.random.default_rng().integers(2**31))
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31 - 1))
    if (
        isinstance(random_state, int | np.integer)
        and not isinstance(random_state, bool)
        and random_state >= 0
    ):
        return int(random_state)
    raise ArgumentError(
        f"random_state must be None, an integer of at least 0 or a RandomState; got {random_state!r}"
    )
