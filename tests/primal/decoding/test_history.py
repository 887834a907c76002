"""The history of tokens: what a window keeps of it, in rows of different lengths, and what is saved."""

import pytest
import torch
from tests.primal.decoding.helpers import HEAD_DIM, HEADS, decode, problem_of, state_of, tensors
from torch.testing import assert_close

from primaldual import preset
from primaldual.primal.decoding.memory import LEAST

RADIUS = 5


@pytest.mark.parametrize("spec", [f"window({RADIUS})", f"conv(3,causal=true)+bn+window({RADIUS})"])
def test_a_window_keeps_the_last_tokens_of_every_row(spec):
    problem, inputs = problem_of(spec), tensors(150, 2, 0, batch=3)
    state = state_of(problem, batch=3, kv_heads=2, capacity=500)
    generator = torch.Generator().manual_seed(0)
    outputs, taken = [[], [], []], [0, 0, 0]
    for length in (1, 60, *[1] * 30, 7, 1):
        valid = torch.rand(3, length, generator=generator) < 0.7
        piece = [torch.zeros(3, tensor.shape[1], length, tensor.shape[3]).double() for tensor in inputs]
        for row in range(3):
            count = int(valid[row].sum())
            for new, whole in zip(piece, inputs, strict=True):
                new[row, :, valid[row]] = whole[row, :, taken[row] : taken[row] + count]
            taken[row] += count
        out = problem.step(state, *piece, valid)
        for row in range(3):
            outputs[row].append(out[row, :, valid[row]])
        assert state.memories[0]["keys"].shape[2] <= 2 * RADIUS + LEAST
    assert state.lengths == taken
    for row in range(3):
        exact = problem.attend(*(one[row : row + 1, :, : taken[row]] for one in inputs), is_causal=True)
        assert_close(torch.cat(outputs[row], 1), exact[0].detach(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("spec", ["conv(3,causal=true,prefix=1)+window(5)", "conv(3,queries=true)+window(5)"])
def test_all_tokens_are_kept_where_positions_matter(spec):
    problem, inputs = problem_of(spec), tensors(60, 2, 0)
    state = state_of(problem, kv_heads=2)
    out = decode(problem, state, inputs, [10] + [1] * 50)
    assert state.memories[0]["keys"].shape[2] >= 60
    assert_close(out, problem.attend(*inputs, is_causal=True).detach(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("spec", ["window(6)", "bn+window(6)"])
@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("length", [1, 6, 7, 8])
def test_a_single_query_whose_window_holds_every_key(spec, is_causal, length):
    """The window is then no condition, under a mask neither."""
    problem, (query, key, value) = preset(spec), tensors(length, 2, 0)
    query = query[:, :, -1:]
    for mask in (None, torch.rand(2, 1, 1, length, generator=torch.Generator().manual_seed(1)) < 0.6):
        out = problem.attend(query, key, value, mask, is_causal)
        assert_close(out, problem.dense(query, key, value, mask, is_causal), rtol=1e-9, atol=1e-9)


def test_hooks_and_running_statistics_are_bypassed():
    problem = preset("bn(running=true)+window(3)").bind(HEADS, HEAD_DIM).double().train()
    before = {name: tensor.clone() for name, tensor in problem.state_dict().items()}
    seen = []
    problem.register_forward_hook(lambda *_: seen.append(1))
    decode(problem, state_of(problem), tensors(6, HEADS, 0), [3, 1, 1, 1])
    assert not seen
    for name, tensor in problem.state_dict().items():
        assert_close(tensor, before[name], rtol=0, atol=0)
