"""What a state says of itself, and what can be done with it: errors, rows, copies, saving."""

import copy
import io

import pytest
import torch
from tests.primal.decoding.test_step import HEADS, decode, problem_of, state_of, tensors
from torch.testing import assert_close

from primaldual import MaskedKeys, PooledHeads, PrimalProblem, preset
from primaldual.errors import ArgumentError, CheckpointError, ShapeError, UnsupportedError

KINDS = ["softmax", "bn", "bn+sh(1,2,3,4)", "linear+sh(1,1,2,2)", "bn+window(3)", "conv(3,queries=true)", "linear+bn",
         "conv(3,causal=true)+bn"]  # fmt: skip


def started(spec, tokens=7, **options):
    problem, inputs = problem_of(spec), tensors(tokens + 6, 2, 0)
    state = state_of(problem, kv_heads=2, **options)
    decode(problem, state, [tensor[:, :, :tokens] for tensor in inputs], [tokens - 2, 1, 1])
    return problem, state, [tensor[:, :, tokens:] for tensor in inputs]


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


def test_sizes_are_checked():
    problem = preset("bn")
    for options, words in (
        ({"batch": 0}, "batch must be an integer 1 or more; got 0"),
        ({"heads": 2.0}, "heads must be"),
        ({"kv_heads": 3}, "kv_heads must divide heads; got heads 4 and kv_heads 3"),
        ({"dtype": torch.int64}, "dtype must be a floating type"),
    ):
        with pytest.raises(ArgumentError, match=words):
            problem.init_state(**({"batch": 1, "heads": 4, "head_dim": 8} | options))


@pytest.mark.parametrize(
    "problem",
    [
        PrimalProblem(subset=MaskedKeys(torch.ones(5, 5, dtype=torch.bool))),
        PrimalProblem(subset=PooledHeads(1, 2, 2, 2, grid=(4, 4))),
        preset("conv2d(3)"),
    ],
    ids=lambda problem: problem.spec(),
)
def test_fixed_numbers_of_positions_are_refused(problem):
    with pytest.raises(UnsupportedError, match="requires a fixed length and cannot be decoded step by step"):
        problem.init_state(1, HEADS, 6)


def test_scales_must_match_the_heads():
    with pytest.raises(ArgumentError, match="scales must hold one integer"):
        preset("sh(1,2)").init_state(1, HEADS, 6)


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


@pytest.mark.parametrize("spec", KINDS)
def test_saved_and_loaded(spec):
    problem, state, later = started(spec, capacity=500)
    buffer = io.BytesIO()
    torch.save(state.state_dict(), buffer)
    buffer.seek(0)
    saved = torch.load(buffer, weights_only=True)
    assert sum(tensor.nbytes for tensor in saved.values()) < state.nbytes + 200
    other = state_of(problem, kv_heads=2).load_state_dict(saved)
    assert other.lengths == [7, 7]
    out = decode(copy.deepcopy(problem), other, later, [1] * 6)
    assert_close(out, decode(problem, state, later, [1] * 6), rtol=0, atol=0)


def test_safetensors_hold_a_state(tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    problem, state, later = started("bn+sh(1,2,3,4)")
    safetensors.save_file(state.state_dict(), tmp_path / "state.safetensors")
    other = state_of(problem, kv_heads=2).load_state_dict(
        safetensors.load_file(tmp_path / "state.safetensors")
    )
    assert_close(
        decode(problem, other, later, [1] * 6), decode(problem, state, later, [1] * 6), rtol=0, atol=0
    )


def test_what_does_not_fit_is_not_loaded():
    problem, state, _ = started("bn")
    saved = state.state_dict()
    with pytest.raises(CheckpointError, match="the state is of 'softmax'; got tensors of 'bn'"):
        state_of(preset("softmax"), kv_heads=2).load_state_dict(saved)
    with pytest.raises(CheckpointError, match=r"lengths must be \(3,\)"):
        state_of(problem, batch=3, kv_heads=2).load_state_dict(saved)
    with pytest.raises(CheckpointError, match=r"must be .*float32; got .*float64"):
        state_of(problem, kv_heads=2, dtype=torch.float32).load_state_dict(saved)
    with pytest.raises(CheckpointError, match="needs the tensors"):
        state_of(problem, kv_heads=2).load_state_dict({"spec": saved["spec"]})
    with pytest.raises(CheckpointError, match="got tensors of None"):
        state_of(problem, kv_heads=2).load_state_dict({})


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


def test_grouped_heads_share_what_is_cached():
    state = preset("sh(2,2,2,2)").init_state(1, 4, 64, kv_heads=2)
    assert state.memories[0]["keys"].shape[1] == 2


@pytest.mark.parametrize("spec", ["bn", "sh(4,4,4,4)", "constant", "window(3)"])
def test_room_is_made_seldom(spec):
    problem, inputs = problem_of(spec), tensors(300, 4, 0, batch=1)
    state, sizes = state_of(problem, batch=1, capacity=1), set()
    for token in zip(*(tensor.split(1, 2) for tensor in inputs), strict=True):
        problem.step(state, *token)
        sizes.add(state.memories[0]["keys"].shape[2])
    assert len(sizes) <= 7
    assert state.allocated_nbytes <= 3 * state.nbytes + 20000


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


def test_it_prints():
    _, state, _ = started("bn")
    assert repr(state).startswith("DecodingState('bn', batch=2, lengths=[7, 7]")
