"""Sequences grow by doubling."""

import pytest
from tests.primal.decoding.helpers import problem_of, state_of, tensors


@pytest.mark.parametrize("spec", ["bn", "sh(4,4,4,4)", "constant", "window(3)"])
def test_room_is_made_seldom(spec):
    problem, inputs = problem_of(spec), tensors(300, 4, 0, batch=1)
    state, sizes = state_of(problem, batch=1, capacity=1), set()
    for token in zip(*(tensor.split(1, 2) for tensor in inputs), strict=True):
        problem.step(state, *token)
        sizes.add(state.memories[0]["keys"].shape[2])
    assert len(sizes) <= 7
    assert state.allocated_nbytes <= 3 * state.nbytes + 20000
