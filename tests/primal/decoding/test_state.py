"""What a state says of itself, and what can be done with it: errors, rows, copies, types."""

import copy

import pytest
import torch
from tests.primal.decoding.helpers import KINDS, decode, problem_of, started, state_of, tensors
from torch.testing import assert_close

from primaldual import preset
from primaldual.errors import ArgumentError, ShapeError, UnsupportedError


@pytest.mark.parametrize("spec", KINDS)
def test_wrong_tensors_are_refused_and_the_state_stays(spec):
    problem, state, later = started(spec)
    query, key, value = (tensor[:, :, :1] for tensor in later)
    untouched = state.copy()
    wrong = {
        "batch": (query[:1], key[:1], value[:1]),
        "query must": (query[:, :2], key, value),
        "key must": (query, key[:, :1], value),
        "head": (query[..., :3], key[..., :3], value),
        "value must": (query, key, value[..., :2]),
        "one n": (query, torch.cat([key, key], 2), value),
        "query": (query[0], key[0], value[0]),
    }
    for words, inputs in wrong.items():
        with pytest.raises(ShapeError, match=words):
            problem.step(state, *inputs)
    for words, inputs in {
        "torch.float64, as the state; got torch.float32": (query.float(), key.float(), value.float()),
        "on cpu, as the state; got meta": (query, key.to("meta"), value),
    }.items():
        with pytest.raises(ArgumentError, match=words):
            problem.step(state, *inputs)
    with pytest.raises(ArgumentError, match="valid must be boolean"):
        problem.step(state, query, key, value, torch.ones(2, 1))
    with pytest.raises(ShapeError, match=r"valid must be \(batch, n\) = \(2, 1\); got \(2, 3\)"):
        problem.step(state, query, key, value, torch.ones(2, 3, dtype=torch.bool))
    with pytest.raises(ArgumentError, match="got one of"):
        preset("taylor(3)").step(state, query, key, value)
    assert state.lengths == untouched.lengths
    out = decode(problem, state, later, [2] + [1] * 4)
    assert_close(out, decode(problem, untouched, later, [2] + [1] * 4), rtol=0, atol=0)


@pytest.mark.parametrize("spec", KINDS)
def test_copies_go_their_own_way(spec):
    problem, state, later = started(spec)
    others = [state.copy(), copy.deepcopy(state), state.select([0, 1]), state.to("cpu")]
    out = decode(problem, state, later, [1] * 6)
    for other in others:
        assert other.lengths == [7, 7]
        assert_close(decode(problem, other, later, [1] * 6), out, rtol=0, atol=0)


@pytest.mark.parametrize("spec", KINDS)
def test_rows_are_selected_and_repeated(spec):
    problem, inputs = problem_of(spec), tensors(12, 2, 0, batch=3)
    valid = torch.tensor([[True] * 6, [True] * 2 + [False] * 4, [False] * 6])
    state = state_of(problem, batch=3, kv_heads=2)
    problem.step(state, *(tensor[:, :, :6] for tensor in inputs), valid)
    rows = [1, 0, 1, 2]
    chosen = state.select(rows)
    assert chosen.lengths == [2, 6, 2, 0]
    later = [tensor[:, :, 6:] for tensor in inputs]
    out = decode(problem, state, later, [1] * 6)
    assert_close(
        decode(problem, chosen, [tensor[rows] for tensor in later], [1] * 6), out[rows], rtol=1e-9, atol=1e-9
    )
    assert state.select(torch.tensor([True, False, True])).lengths == [12, 6]
    for wrong in ([3], [-1], [], [0.5], torch.zeros(3, dtype=torch.bool)):
        with pytest.raises(ArgumentError, match="rows must be numbers from 0 to 2"):
            state.select(wrong)


def test_another_type_and_back():
    problem, state, later = started("bn+sh(1,2,3,4)")
    out = decode(problem, state.to(dtype=torch.float32), [tensor.float() for tensor in later], [1] * 6)
    assert out.dtype == torch.float32
    assert_close(out.double(), decode(problem, state, later, [1] * 6), rtol=1e-3, atol=1e-4)


def test_bytes_of_the_cache():
    """What 4096 tokens of 4 heads with 64 numbers take, against all keys and values."""
    whole = 4096 * 4 * 2 * 64 * 4
    prompt = torch.randn(3, 1, 4, 4096, 64).unbind(0)
    shares = {}
    for spec in ("softmax", "bn", "sh(1,2,4,8)", "bn+sh(1,2,4,8)", "window(256)", "linear"):
        problem = preset(spec)
        state = problem.init_state(1, 4, 64)
        assert state.nbytes < 0.01 * whole
        problem.step(state, *prompt)
        shares[spec] = state.nbytes / whole
    assert shares["softmax"] == 1
    assert shares["bn"] < 1.001
    assert shares["sh(1,2,4,8)"] < 0.49
    assert shares["bn+sh(1,2,4,8)"] < 0.49
    assert shares["window(256)"] < 2 * 257 / 4096
    assert shares["linear"] < 0.01


def test_it_prints():
    _, state, _ = started("bn")
    assert repr(state).startswith("DecodingState('bn', batch=2, lengths=[7, 7]")


@pytest.mark.parametrize("spec", KINDS)
@pytest.mark.parametrize("lengths", [4, 7, 0, [6, 3]])
def test_cropped_states_go_on_as_if_the_last_tokens_had_not_been(spec, lengths):
    problem, state, later = started(spec, croppable=True)
    before = [tensor[:, :, :7] for tensor in tensors(13, 2, 0)]
    wanted = [lengths] * 2 if isinstance(lengths, int) else lengths
    for tensor in state.memories[0].values():
        tensor[:, :, 7:] = torch.nan  # a draft that went wrong
    assert state.crop(lengths).lengths == wanted
    found = problem.step(state, *later)
    for row, length in enumerate(wanted):
        alone = [
            torch.cat([old[row : row + 1, :, :length], new[row : row + 1]], 2)
            for old, new in zip(before, later, strict=True)
        ]
        expected = problem.dense(*alone, is_causal=True)[0, :, length:]
        assert_close(found[row], expected, rtol=1e-9, atol=1e-9)


def test_states_that_keep_every_key_crop_without_being_asked():
    problem, state, later = started("softmax")
    state.crop(3)
    before = [tensor[:, :, :3] for tensor in tensors(13, 2, 0)]
    whole = [torch.cat(pair, 2) for pair in zip(before, later, strict=True)]
    assert_close(problem.step(state, *later), problem.dense(*whole, is_causal=True)[:, :, 3:])


@pytest.mark.parametrize("spec", ["bn", "sh(1,1,2,2)", "linear", "bn+window(3)", "conv(3,causal=true)"])
def test_states_that_cannot_forget_say_so(spec):
    _, state, _ = started(spec)
    assert state.crop(7).lengths == [7, 7]
    with pytest.raises(
        UnsupportedError, match=r"accepted are states made with init_state\(\.\.\., croppable=True\)"
    ):
        state.crop(6)


@pytest.mark.parametrize("length", [-1, 8, True, [1], [1, 2, 3], [8, 1], [1.0, 2.0]])
def test_lengths_to_crop_to_that_are_refused(length):
    _, state, _ = started("softmax")
    with pytest.raises(ArgumentError, match=r"length must be a number of tokens from 0 .*\[7, 7\]"):
        state.crop(length)
