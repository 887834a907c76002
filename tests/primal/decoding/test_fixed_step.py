"""Steps by kernels of fixed shapes equal the causal definition, whatever came before and comes after."""

import pytest
import torch
from tests.quick import one_in
from torch.testing import assert_close

from primaldual.primal.decoding import fixed_step
from primaldual.primal.presets import preset
from primaldual.testing.inputs import prepared

SPECS = ["softmax", "bn(beta=0.7)", "bn(scale=none)", "sh(1,2)", "bn+sh(2,3)", "sh(2,3,prefix=2)"]
HEADS, HEAD_DIM = 2, 4

pytest.importorskip("triton")


@pytest.fixture
def device():
    """Where kernels run: the GPU, or the CPU in Triton's interpreter."""
    return "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture(autouse=True)
def served(monkeypatch):
    monkeypatch.setattr(fixed_step, "available", lambda kind: True)


@pytest.fixture
def counted(monkeypatch):
    """How many steps the kernels have made."""
    made, call = [], fixed_step.FixedStep.__call__
    monkeypatch.setattr(
        fixed_step.FixedStep, "__call__", lambda self, *tokens: made.append(1) or call(self, *tokens)
    )
    return made


def problem_and_tokens(spec, length, device, kv_heads=HEADS, dtype=torch.float32):
    generator = torch.Generator().manual_seed(1)
    problem = prepared(preset(spec), HEADS, HEAD_DIM, device=device)
    tokens = [
        (torch.randn(2, length, heads, HEAD_DIM, generator=generator) + 1).to(device, dtype).transpose(1, 2)
        for heads in (HEADS, kv_heads, kv_heads)
    ]
    return problem, tokens


def stepped(problem, state, tokens, pieces):
    parts = zip(*(tensor.split(pieces, 2) for tensor in tokens), strict=True)
    return torch.cat([problem.step(state, *part) for part in parts], 2)


def new_state(problem, tokens, **options):
    query, key, _ = tokens
    return problem.init_state(
        2, HEADS, HEAD_DIM, kv_heads=key.shape[1], dtype=query.dtype, device=query.device, **options
    )


def definition(problem, tokens):
    return problem.dense(*(tensor.double() for tensor in tokens), is_causal=True).detach()


@pytest.mark.parametrize("spec", one_in(2, SPECS))
def test_single_tokens_among_pieces_equal_the_definition(spec, device, counted):
    problem, tokens = problem_and_tokens(spec, 9, device)
    state = new_state(problem, tokens, capacity=2)
    found = stepped(problem, state, tokens, [3, 1, 1, 2, 1, 1])
    assert len(counted) == 4
    assert state.lengths == [9, 9]
    assert_close(found.double(), definition(problem, tokens), rtol=2e-5, atol=2e-5)


def test_grouped_heads_share_their_keys(device, counted):
    problem, tokens = problem_and_tokens("bn+sh(2,2)", 6, device, kv_heads=1)
    found = stepped(problem, new_state(problem, tokens), tokens, [3, 1, 1, 1])
    assert len(counted) == 3
    assert_close(found.double(), definition(problem, tokens), rtol=2e-5, atol=2e-5)


def test_caches_grow(device, counted):
    problem, tokens = problem_and_tokens("sh(1,2)", 19, device)
    state = new_state(problem, tokens, capacity=1)
    found = stepped(problem, state, tokens, [15, 1, 1, 1, 1])
    assert len(counted) == 4
    assert_close(found.double(), definition(problem, tokens), rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("pieces", one_in(2, [[25, 1, 1, 1, 3, 1], [2] + [1] * 30]))
def test_a_window_slides(pieces, device, counted):
    """Behind a full cache the tokens that are still seen come to its front."""
    problem, tokens = problem_and_tokens("window(2)", 32, device)
    state = new_state(problem, tokens)
    found = stepped(problem, state, tokens, pieces)
    assert len(counted) == pieces.count(1)
    assert state.allocated_nbytes == 2 * 2 * HEADS * 20 * HEAD_DIM * 4 + 16
    assert_close(found.double(), definition(problem, tokens), rtol=2e-5, atol=2e-5)


def test_sequences_of_other_lengths(device, counted):
    """After padding the sequences differ in length, and each gives what it gives alone."""
    problem, tokens = problem_and_tokens("bn+sh(1,2)", 6, device)
    valid = torch.tensor([[True] * 4, [True, False, True, False]], device=device)
    state = new_state(problem, tokens)
    problem.step(state, *(tensor[:, :, :4] for tensor in tokens), valid)
    found = stepped(problem, state, [tensor[:, :, 4:] for tensor in tokens], [1, 1])
    assert len(counted) == 2
    assert state.lengths == [6, 4]
    for row, kept in enumerate(([0, 1, 2, 3, 4, 5], [0, 2, 4, 5])):
        wanted = definition(problem, [tensor[row : row + 1, :, kept] for tensor in tokens])[:, :, -2:]
        assert_close(found[row : row + 1].double(), wanted, rtol=2e-5, atol=2e-5)


def test_copies_and_cropped_states_go_on_by_themselves(device):
    problem, tokens = problem_and_tokens("softmax", 7, device)
    state = new_state(problem, tokens)
    stepped(problem, state, [tensor[:, :, :4] for tensor in tokens], [2, 1, 1])
    other, swapped = state.copy(), state.select([1, 0])
    found = stepped(problem, state, [tensor[:, :, 4:] for tensor in tokens], [1, 1, 1])
    wanted = definition(problem, tokens)[:, :, 4:]
    assert_close(found.double(), wanted, rtol=2e-5, atol=2e-5)
    for again in (other, state.crop(4)):
        found = stepped(problem, again, [tensor[:, :, 4:] for tensor in tokens], [1, 2])
        assert_close(found.double(), wanted, rtol=2e-5, atol=2e-5)
    found = stepped(problem, swapped, [tensor[[1, 0], :, 4:] for tensor in tokens], [1, 1, 1])
    assert_close(found[[1, 0]].double(), wanted, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize(
    "spec", ["bn(beta=0.5,learnable=true)", "alibi", "linear", "bn+window(2)", "alibi+window(2)"]
)
def test_other_problems_decode_as_before(spec, device, counted):
    problem, tokens = problem_and_tokens(spec, 5, device)
    found = stepped(problem, new_state(problem, tokens), tokens, [2, 1, 1, 1])
    assert not counted
    assert_close(found.double(), definition(problem, tokens), rtol=2e-5, atol=2e-5)
