"""A step as a CUDA graph gives what the step gives; where no kernels serve it is refused."""

import pytest
import torch
from torch.testing import assert_close

from primaldual import CapturedStep, preset
from primaldual.errors import ShapeError, UnsupportedError


def state_of(problem, device, **options):
    return problem.init_state(2, 4, 16, dtype=torch.float32, device=device, **options)


def test_what_no_kernel_serves_is_refused():
    problem = preset("bn")
    state = state_of(problem, "cpu")
    problem.step(state, *torch.randn(3, 2, 4, 3, 16).unbind(0))
    step = CapturedStep(problem, state)
    with pytest.raises(
        UnsupportedError, match=r"bn is captured on a CUDA device .* got 1 tokens on cpu .* \[3, 3\]"
    ):
        step(*torch.randn(3, 2, 4, 1, 16).unbind(0))
    with pytest.raises(ShapeError, match="query must be"):
        step(*torch.randn(3, 2, 4, 1, 8).unbind(0))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("spec", ["softmax", "bn", "sh(1,2,4,8)", "bn+sh(1,2,4,8)"])
def test_replays_equal_the_causal_form(spec):
    problem = preset(spec).bind(4, 16)
    tokens = torch.randn(3, 2, 4, 90, 16, device="cuda").unbind(0)
    state = state_of(problem, "cuda", capacity=40)
    problem.step(state, *(tensor[:, :, :20] for tensor in tokens))
    step = CapturedStep(problem, state)
    found = [step(*(tensor[:, :, row : row + 1] for tensor in tokens)).clone() for row in range(20, 60)]
    found.append(problem.step(state, *(tensor[:, :, 60:70] for tensor in tokens)))
    found += [step(*(tensor[:, :, row : row + 1] for tensor in tokens)).clone() for row in range(70, 90)]
    wanted = problem.dense(*(tensor.double() for tensor in tokens), is_causal=True)[:, :, 20:]
    assert state.lengths == [90, 90]
    assert_close(torch.cat(found, 2).double(), wanted, rtol=1e-4, atol=1e-4)
