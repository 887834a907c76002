import random

import numpy as np
import pytest
import torch

from primaldual.training.randomness import (
    derive_seed,
    private_torch_randomness,
    untouched_python_and_numpy,
)


def test_private_randomness_is_seeded_inside_and_invisible_outside():
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    draws = []
    for _ in range(2):
        with private_torch_randomness(1):
            draws.append(torch.rand(2))
    assert torch.equal(*draws)
    assert torch.equal(torch.rand(2), expected)


def test_generators_come_back_after_an_error():
    torch.manual_seed(5)
    before = (torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist())

    def disturb():
        with private_torch_randomness(1), untouched_python_and_numpy():
            torch.rand(1)
            random.seed(0)
            np.random.seed(0)
            raise KeyError

    with pytest.raises(KeyError):
        disturb()
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1:] == (random.getstate(), np.random.get_state()[1].tolist())


def test_derived_seeds_differ():
    seeds = {derive_seed(seed, *numbers) for seed in range(3) for numbers in [(0,), (1,), (0, 1), (1, 0)]}
    assert len(seeds) == 12
