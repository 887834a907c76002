"""Batch normalisation pair by pair: half precision, and statistics that differ between the modes."""

import copy

import pytest
import torch
from tests.primal.decoding.helpers import HEADS, decode, problem_of, state_of, tensors
from torch.testing import assert_close

from primaldual import preset
from primaldual.errors import ArgumentError

HALF = [(torch.float16, 4e-3), (torch.bfloat16, 4e-2)]


@pytest.mark.parametrize("spec", ["bn", "bn+sh(1,2,4,8)", "bn(scale=none)", "bn(learnable=true)+sh(2,2,3,3)"])
@pytest.mark.parametrize("kv_heads", [1, 4])
@pytest.mark.parametrize(("dtype", "tolerance"), HALF)
@pytest.mark.parametrize("chunks", [[1] * 40, [1, 39], [1, 1, 30, 1, 7]], ids=len)
def test_first_tokens_and_constant_stretches(spec, kv_heads, dtype, tolerance, chunks):
    """Where keys hardly differ, 1 / (variance + eps) is beyond float16; outputs still follow those in float64."""
    problem, inputs = problem_of(spec), tensors(40, kv_heads, 3, dtype)
    inputs[1][:, :, 12:30] = inputs[1][:, :, 12:13]
    constant = [inputs[0], inputs[1][:, :, 12:13].expand_as(inputs[1]), inputs[2]]
    for given in (inputs, constant):
        exact = problem.dense(*(tensor.double() for tensor in given), is_causal=True).detach()
        half = copy.deepcopy(problem).to(dtype)
        out = decode(half, state_of(half, kv_heads=kv_heads, dtype=dtype), given, chunks)
        assert out.isfinite().all()
        first = (
            12 if dtype == torch.bfloat16 and "sh" in spec else 0
        )  # two pools, rounded to 8 bits, hardly differ
        assert_close(out[:, :, first:].double(), exact[:, :, first:], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("spec", ["bn", "bn+sh(1,2,4,8)", "bn(scale=none)"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_the_first_token_gets_exactly_its_value(spec, dtype):
    problem, (query, key, value) = preset(spec), tensors(1, HEADS, 0, dtype)
    for size in (1, 1000):
        out = problem.step(state_of(problem, dtype=dtype), size * query, key, value)
        assert_close(out, value, rtol=0, atol=0)


def test_two_keys_that_differ_little_in_some_dimensions():
    """Their large query entries are not cut off, which would change the others' share."""
    problem, generator = preset("bn").bind(HEADS, 64), torch.Generator().manual_seed(0)
    inputs = torch.randn(3, 8, HEADS, 2, 64, generator=generator).half().unbind(0)
    exact = problem.dense(*(tensor.double() for tensor in inputs), is_causal=True)
    out = decode(problem, problem.init_state(8, HEADS, 64, dtype=torch.float16), inputs, [1, 1])
    assert_close(out.double(), exact, rtol=0, atol=0.05)


def test_modes_of_running_statistics_are_not_mixed():
    problem = problem_of("bn(running=true)")
    inputs = tensors(3, 4, 0)
    for mode in (True, False):
        state = state_of(problem.train(mode))
        decode(problem, state, inputs, [2, 1])
        with pytest.raises(ArgumentError, match="in training than in evaluation"):
            problem.train(not mode).step(state, *(tensor[:, :, :1] for tensor in inputs))
    trained = problem_of("linear+bn(running=true)")
    state = state_of(trained)
    with pytest.raises(ArgumentError, match="in training than in evaluation"):
        copy.deepcopy(trained).train().step(state, *inputs)
