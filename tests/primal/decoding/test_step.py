"""Token by token gives the causal rows, for every problem, in any pieces, whatever the batch."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.contract_specs import EVERY_WORD, SPECS
from tests.primal.decoding.helpers import (
    HEAD_DIM,
    HEADS,
    VALUE_DIM,
    decode,
    problem_of,
    state_of,
    tensors,
    width_of,
)
from tests.quick import one_in
from torch.testing import assert_close

from primaldual import preset
from primaldual.errors import UnsupportedError
from primaldual.testing.inputs import prepared

CHUNKS = st.lists(st.integers(1, 7), min_size=1, max_size=8)


@pytest.mark.parametrize("spec", one_in(3, SPECS, EVERY_WORD))
@settings(max_examples=4, deadline=None)
@given(chunks=CHUNKS, kv_heads=st.sampled_from([1, 2, 4]), seed=st.integers(0, 10**6))
def test_pieces_give_the_causal_rows(spec, chunks, kv_heads, seed):
    width = width_of(spec)
    problem, inputs = problem_of(spec), tensors(sum(chunks), kv_heads, seed, value_dim=width)
    state = state_of(problem, kv_heads=kv_heads, value_dim=width, capacity=1)
    out = decode(problem, state, inputs, chunks)
    assert_close(out, problem.attend(*inputs, is_causal=True), rtol=1e-9, atol=1e-9)
    assert state.lengths == [sum(chunks)] * 2


@pytest.mark.parametrize("spec", one_in(3, SPECS, EVERY_WORD))
@settings(max_examples=4, deadline=None)
@given(
    chunks=CHUNKS,
    kv_heads=st.sampled_from([1, 2, 4]),
    seed=st.integers(0, 10**6),
    share=st.sampled_from([0.2, 0.6, 0.9]),
)
def test_a_sequence_in_a_batch_gives_what_it_gives_alone(spec, chunks, kv_heads, seed, share):
    """Padding takes no place, wherever it stands, and holds NaN and inf; its outputs are exactly 0."""
    width = width_of(spec)
    problem, inputs = problem_of(spec), tensors(sum(chunks), kv_heads, seed, batch=3, value_dim=width)
    valid = torch.rand(3, sum(chunks), generator=torch.Generator().manual_seed(seed)) < share
    poisoned = [
        torch.where(valid[:, None, :, None], tensor, poison)
        for tensor, poison in zip(inputs, (math.inf, math.nan, math.nan), strict=True)
    ]
    state = state_of(problem, batch=3, kv_heads=kv_heads, value_dim=width)
    pieces = zip(*(tensor.split(chunks, 2) for tensor in poisoned), valid.split(chunks, 1), strict=True)
    out = torch.cat([problem.step(state, *piece) for piece in pieces], 2)
    assert state.lengths == valid.sum(1).tolist()
    assert (out.transpose(1, 2)[~valid] == 0).all()
    for row in valid.any(1).nonzero().flatten().tolist():
        alone = problem.attend(*(tensor[row : row + 1, :, valid[row]] for tensor in inputs), is_causal=True)
        assert_close(out[row : row + 1, :, valid[row]], alone, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "spec", ["bn", "sh(1,2,3,4)", "linear", "bn+window(3)", "constant", "conv(3,causal=true)+bn"]
)
def test_a_prompt_padded_on_either_side_then_steps(spec):
    problem = problem_of(spec)
    lengths, steps = [3, 8, 0], 6
    prompt, later = tensors(8, 2, 0, batch=3), tensors(steps, 2, 1, batch=3)
    right = torch.arange(8) < torch.tensor(lengths)[:, None]
    for valid in (right, right.flip(1)):
        state = state_of(problem, batch=3, kv_heads=2)
        first = problem.step(state, *prompt, valid)
        out = decode(problem, state, later, [1] * steps)
        for row in range(3):
            whole = [
                torch.cat([one[row : row + 1, :, valid[row]], two[row : row + 1]], 2)
                for one, two in zip(prompt, later, strict=True)
            ]
            exact = problem.attend(*whole, is_causal=True)
            assert_close(out[row : row + 1], exact[:, :, lengths[row] :], rtol=1e-9, atol=1e-9)
            assert_close(
                first[row : row + 1, :, valid[row]], exact[:, :, : lengths[row]], rtol=1e-9, atol=1e-9
            )


@pytest.mark.parametrize("spec", ["bn", "bn+sh(1,2,2,4)", "linear", "window(5)", "taylor(2)", "constant"])
def test_long_pieces_behind_others(spec):
    problem, inputs = problem_of(spec), tensors(1300, 2, 0)
    out = decode(problem, state_of(problem, kv_heads=2), inputs, [3, 1200, 1, 96])
    assert_close(out, problem.attend(*inputs, is_causal=True), rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize(
    "spec", ["bn", "bn+sh(1,2,3,4)", "conv(3,causal=true)+bn", "bn+window(70)", "bn+sh(2,2,2,2)"]
)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-2), (torch.bfloat16, 0.25)])
def test_keys_with_a_large_mean(spec, dtype, tolerance):
    """Mean 100, deviation 0.1: rounded to the dtype first, then compared with float64 on the same numbers."""
    generator = torch.Generator().manual_seed(0)
    query, key = (100 + 0.1 * torch.randn(2, 1, HEADS, 200, HEAD_DIM, generator=generator)).unbind(0)
    if dtype == torch.bfloat16:
        query, key = (tensor + torch.randn(tensor.shape, generator=generator) for tensor in (query, key))
    value = torch.randn(1, HEADS, 200, VALUE_DIM, generator=generator)
    inputs = [tensor.to(dtype) for tensor in (query, key, value)]
    problem = preset(spec)
    exact = problem.dense(*(tensor.double() for tensor in inputs), is_causal=True)
    for chunks in ([1] * 200, [60] + [1] * 140, [50, 50, 50, 50]):
        out = decode(problem, state_of(problem, batch=1, dtype=dtype), inputs, chunks)
        assert out.dtype == dtype
        rows = slice(60, None)
        assert_close(out[:, :, rows].double(), exact[:, :, rows], rtol=0, atol=tolerance)


@pytest.mark.parametrize("spec", one_in(3, SPECS, EVERY_WORD))
def test_low_precision_is_close(spec):
    problem, width = problem_of(spec).bfloat16(), width_of(spec)
    inputs = tensors(20, 2, 0, torch.bfloat16, value_dim=width)
    state = state_of(problem, kv_heads=2, dtype=torch.bfloat16, value_dim=width)
    out = decode(problem, state, inputs, [7] + [1] * 13)
    wanted = problem.attend(*inputs, is_causal=True)
    rows = slice(10, None)
    size = float(wanted.detach()[:, :, rows].abs().max())
    assert_close(out[:, :, rows], wanted.detach()[:, :, rows], rtol=0.1, atol=0.1 * size)


def test_autocast_and_inference_mode_change_nothing():
    problem, inputs = problem_of("bn+sh(1,1,2,4)").float(), tensors(40, 4, 0, torch.float32)
    plain = decode(problem, state_of(problem, dtype=torch.float32), inputs, [4] + [1] * 36)
    with torch.autocast("cpu", torch.bfloat16):
        assert_close(decode(problem, state_of(problem, dtype=torch.float32), inputs, [4] + [1] * 36), plain)
    with torch.inference_mode():
        state = state_of(problem, dtype=torch.float32)
        first = decode(problem, state, [tensor[:, :, :20] for tensor in inputs], [4] + [1] * 16)
    rest = decode(problem, state, [tensor[:, :, 20:] for tensor in inputs], [1] * 20)
    assert_close(torch.cat([first, rest], 2), plain)


def test_no_gradients_are_kept():
    problem, inputs = problem_of("bn"), [tensor.requires_grad_() for tensor in tensors(6, 4, 0)]
    state = state_of(problem)
    assert not decode(problem, state, inputs, [3, 1, 1, 1]).requires_grad
    assert not any(tensor.requires_grad for tensor in state.state_dict().values())


def test_training_mode_does_not_move_running_averages():
    problem = prepared(preset("conv(3)+bn(running=true)"), HEADS, HEAD_DIM).double().train()
    before = {name: tensor.clone() for name, tensor in problem.state_dict().items()}
    inputs = tensors(6, 4, 0)
    out = decode(problem, state_of(problem), inputs, [3, 1, 1, 1])
    for name, tensor in problem.state_dict().items():
        assert_close(tensor, before[name], rtol=0, atol=0)
    assert_close(out, problem.attend(*inputs, is_causal=True), rtol=1e-9, atol=1e-9)


@pytest.mark.filterwarnings("ignore")  # of tracing, raised in C
def test_steps_are_not_traced():
    problem = preset("bn+sh(1,1,2,4)")

    def traced(query, key, value):
        return problem.step(problem.init_state(1, 4, 8), query, key, value)

    with pytest.raises(UnsupportedError, match=r"bn\+sh\(1,1,2,4\): torch.jit.trace would keep the lengths"):
        torch.jit.trace(traced, tuple(torch.randn(3, 1, 4, 5, 8)), check_trace=False)
