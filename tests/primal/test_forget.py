"""Forgetting against loops over queries and keys."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import logsigmoid
from torch.testing import assert_close

from primaldual import preset
from primaldual.kernels import decayed

HEADS, LENGTH, WIDTH = 4, 9, 6


def tensors(query_length=LENGTH, kv_heads=HEADS, length=LENGTH, batch=2):
    generator = torch.Generator().manual_seed(0)
    shapes = [(HEADS, query_length), (kv_heads, length), (kv_heads, length)]
    drawn = [torch.randn(batch, *shape, WIDTH, generator=generator).double() for shape in shapes]
    gates = logsigmoid(torch.randn(batch, HEADS, length, generator=generator)).double()
    return [tensor.requires_grad_() for tensor in (*drawn, gates)]


def loops(query, key, value, log_gate, allowed):
    """Queries one by one: the gates of all tokens that some query may attend, between key and query."""
    (batch, heads, rows, width), length = query.shape, key.shape[2]
    allowed = allowed.expand(batch, heads, rows, length)
    counts = torch.where(allowed.any(2), log_gate, 0.0)
    out = []
    for b, h, i in torch.cartesian_prod(*map(torch.arange, (batch, heads, rows))).tolist():
        place, keys = i + length - rows, allowed[b, h, i].nonzero().flatten().tolist()
        if not keys:
            out.append(torch.zeros_like(value[0, 0, 0]))
            continue
        pair = b, h * key.shape[1] // heads
        between = [
            counts[b, h, max(0, min(place, j) + 1) : max(place, j) + 1].sum()
            + query[b, h, i] @ key[*pair, j] / width**0.5
            for j in keys
        ]
        out.append(torch.stack(between).softmax(0) @ value[*pair, keys])
    return torch.stack(out).view(*query.shape[:3], -1)


def attend(problem, query, key, value, log_gate, mask=None, is_causal=True):
    return problem.attend(query, key, value, mask, is_causal, inputs={"log_gate": log_gate})


def dense(problem, query, key, value, log_gate, mask=None, is_causal=True):
    return problem.dense(query, key, value, mask, is_causal, inputs={"log_gate": log_gate})


def assert_same(found, wanted, leaves):
    assert_close(found, wanted, rtol=1e-9, atol=1e-9)
    seed = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(1)).double()
    grads = (torch.autograd.grad(out, leaves, seed, retain_graph=True) for out in (found, wanted))
    for one, other in zip(*grads, strict=True):
        assert_close(one, other, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("mask", ["none", "padding", "pairs"])
@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize(("query_length", "kv_heads"), [(LENGTH, HEADS), (5, 2)])
def test_it_equals_loops(query_length, kv_heads, is_causal, mask, monkeypatch):
    monkeypatch.setattr(decayed, "BLOCK_ROWS", 3)
    inputs = tensors(query_length, kv_heads)
    masks = {
        "none": torch.ones(1, 1, 1, LENGTH, dtype=torch.bool),
        "padding": torch.tensor([[0, 1, 1, 0, 1, 1, 1, 0, 0], [1] * LENGTH]).bool()[:, None, None],
        "pairs": torch.rand(2, 1, query_length, LENGTH, generator=torch.Generator().manual_seed(2)) > 0.4,
    }
    allowed, given = masks[mask], None if mask == "none" else masks[mask]
    causal = torch.arange(LENGTH) <= torch.arange(query_length)[:, None] + LENGTH - query_length
    allowed = allowed & causal if is_causal else allowed
    wanted = loops(*inputs, allowed)
    problem = preset("forget")
    assert_same(attend(problem, *inputs, given, is_causal), wanted, inputs)
    assert_same(dense(problem, *inputs, given, is_causal), wanted, inputs)


@pytest.mark.parametrize("spec", ["bn", "linear", "sink(0.3)", "window(3)"])
@pytest.mark.parametrize("is_causal", [False, True])
def test_weights_of_positions_are_multiplied_and_normalised_anew(spec, is_causal):
    query, key, value, log_gate = (tensor.detach() for tensor in tensors())
    plain = preset(spec).bind(HEADS, WIDTH).double().weights(query, key, is_causal=is_causal)
    sums = log_gate.cumsum(-1)
    counted = plain * torch.exp(-(sums.unsqueeze(-1) - sums.unsqueeze(-2)).abs())
    rest = (1 - plain.sum(-1, keepdim=True)).clamp(min=0)  # the share of a sink, which no token forgets
    wanted = counted / (counted.sum(-1, keepdim=True) + rest) @ value
    problem = preset(f"{spec}+forget").bind(HEADS, WIDTH).double()
    assert_close(attend(problem, query, key, value, log_gate, None, is_causal), wanted)


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("spec", ["sh(1,2,3,4)", "window(2)|sh(3)", "sink(0.3)+bn+sh(3)"])
def test_pools_and_unions_equal_the_definition(spec, is_causal):
    inputs, problem = tensors(), preset(f"{spec}+forget").bind(HEADS, WIDTH).double()
    found, wanted = (form(problem, *inputs, None, is_causal) for form in (attend, dense))
    assert_same(found, wanted, inputs)


def test_pools_by_hand():
    """Of query 3, the pool {0, 1} has the gates (1/2 1/2 1/4) and (1/2 1/4): the mean weight is 1/sqrt(128)."""
    gates = torch.tensor([[[0.5, 0.5, 0.5, 0.25]]]).double().log()
    zero, value = (
        torch.zeros(1, 1, 4, 1).double(),
        torch.tensor([1.0, 1.0, 0.0, 0.0]).double().view(1, 1, 4, 1),
    )
    out = attend(preset("sh(2)+forget"), zero, zero, value, gates)
    early, late = 128**-0.5, 4**-0.5
    assert_close(out[0, 0, 3, 0], torch.tensor(early / (early + late)).double())


def test_open_gates_are_softmax_exactly():
    query, key, value, _ = (tensor.detach().float() for tensor in tensors(length=300, query_length=300))
    gates = torch.zeros(2, HEADS, 300)
    for form in (attend, dense):
        plain = getattr(preset("softmax"), form.__name__)(query, key, value, is_causal=True)
        assert_close(form(preset("forget"), query, key, value, gates), plain, rtol=0, atol=0)


@settings(max_examples=25, deadline=None)
@given(
    slope=st.sampled_from([0.0, 0.01, 0.3, 2.0, 40.0]),
    query_length=st.integers(1, 30),
    kv_heads=st.sampled_from([1, 2, 4]),
    is_causal=st.booleans(),
    seed=st.integers(0, 10**6),
)
def test_equal_gates_are_alibi(slope, query_length, kv_heads, is_causal, seed):
    generator = torch.Generator().manual_seed(seed)
    shapes = [(HEADS, query_length), (kv_heads, 30), (kv_heads, 30)]
    inputs = [torch.randn(1, *shape, WIDTH, generator=generator).double() for shape in shapes]
    gates = torch.full((1, HEADS, 30), -slope)
    wanted = preset(f"alibi({slope},{slope},{slope},{slope})").dense(*inputs, is_causal=is_causal)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decayed, "BLOCK_ROWS", 4)
        assert_close(attend(preset("forget"), *inputs, gates, None, is_causal), wanted)


@pytest.mark.parametrize("gate", [-1e-3, -0.1, -5.0, -40.0])
def test_long_sequences_keep_the_digits_of_float32(gate):
    """Sums down to -2e4 for the strongest gates; distances between neighbours stay exact."""
    generator = torch.Generator().manual_seed(0)
    exact = [torch.randn(1, 2, 1200, 8, generator=generator).double() for _ in range(3)]
    exact.append((gate * torch.rand(1, 2, 1200, generator=generator)).double())
    results = []
    for form, dtype in ((attend, torch.float32), (dense, torch.float64)):
        leaves = [tensor.float().to(dtype).requires_grad_() for tensor in exact]
        out = form(preset("forget"), *leaves)
        results.append([out, *torch.autograd.grad(out, leaves, torch.ones_like(out).tril())])
    for found, wanted in zip(*results, strict=True):
        assert (found.double() - wanted).norm() < 1e-5 * wanted.norm()


def test_states_keep_gates():
    query, key, value, log_gate = (tensor.detach().float() for tensor in tensors(kv_heads=2))
    problem = preset("forget+window(4)")
    wanted = attend(problem, query, key, value, log_gate)
    state = problem.init_state(2, HEADS, WIDTH, kv_heads=2, croppable=True)

    def step(state, tokens):
        inputs = {"log_gate": log_gate[:, :, tokens]}
        return problem.step(state, *(tensor[:, :, tokens] for tensor in (query, key, value)), inputs=inputs)

    assert_close(step(state, slice(0, 6)), wanted[:, :, :6])
    state.crop(5)
    loaded = problem.init_state(2, HEADS, WIDTH, kv_heads=2, croppable=True).load_state_dict(
        state.state_dict()
    )
    assert_close(step(loaded.select([0, 1]), slice(5, 9)), wanted[:, :, 5:])
    assert loaded.nbytes == state.nbytes == 5 * 2 * 4 * (2 * 2 * WIDTH + HEADS)


def test_kernels_without_logarithms_keep_their_type():
    query, key, value, log_gate = (tensor.detach().bfloat16() for tensor in tensors())
    problem = preset("linear+constant+forget")
    exact = dense(problem, *(tensor.double() for tensor in (query, key, value, log_gate)))
    for form in (attend, dense):
        found = form(problem, query, key, value, log_gate)
        assert found.dtype == torch.bfloat16
        assert_close(found.double(), exact, rtol=0.05, atol=0.3)
