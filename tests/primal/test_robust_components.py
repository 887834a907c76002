"""RPC-Attention against loops by numpy, what it becomes at its limits, and what it refuses."""

import numpy as np
import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention
from torch.testing import assert_close

import primaldual as pdl
from primaldual import RobustComponents, preset
from primaldual.errors import ArgumentError, ShapeError, SpecError, UnsupportedError
from primaldual.testing.families import draw
from primaldual.testing.inputs import prepared
from primaldual.testing.rounding import BARS, measure_rounding

HEADS, LENGTH, WIDTH = 2, 9, 6


def tensors(length=LENGTH, heads=HEADS, kv_heads=HEADS):
    generator = torch.Generator().manual_seed(0)
    counts = (heads, kv_heads, kv_heads)
    return [
        torch.randn(2, count, length, WIDTH, generator=generator, dtype=torch.float64).requires_grad_()
        for count in counts
    ]


def softmax(scores):
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def shrink(array, threshold):
    return np.sign(array) * np.maximum(np.abs(array) - threshold, 0)


def released(key, value, rounds, penalty):
    """The published loop for one head, queries and keys alike: (N, D), (N, D) -> (N, D)."""
    mu = key.size / (4 * np.abs(key).sum())
    low, multiplier = np.zeros_like(key), np.zeros_like(key)
    for _ in range(rounds):
        sparse = shrink(key - low + multiplier / mu, penalty * mu)
        clean = key - sparse - multiplier / mu
        low = softmax(clean @ clean.T / np.sqrt(key.shape[1])) @ value
        multiplier = multiplier + mu * (key - low - sparse)
    return low


def textbook(key, value, rounds, penalty):
    """The same with the threshold lambda / mu, and the multiplier added."""
    mu = key.size / (4 * np.abs(key).sum())
    low, multiplier = np.zeros_like(key), np.zeros_like(key)
    for _ in range(rounds):
        sparse = shrink(key - low + multiplier / mu, penalty / mu)
        clean = key - sparse + multiplier / mu
        low = softmax(clean @ clean.T / np.sqrt(key.shape[1])) @ value
        multiplier = multiplier + mu * (key - low - sparse)
    return low


@pytest.mark.parametrize("rounds", [1, 2, 4])
@pytest.mark.parametrize(
    ("steps", "loop", "penalty"), [("released", released, 1.5), ("textbook", textbook, 0.2)]
)
def test_it_is_the_published_loop_where_queries_are_keys(rounds, steps, loop, penalty):
    _, key, value = (tensor.detach() for tensor in tensors())
    problem = preset(f"rpc({rounds},{penalty},steps={steps})")
    wanted = torch.stack(
        [
            torch.stack(
                [
                    torch.from_numpy(loop(k.numpy(), v.numpy(), rounds, penalty))
                    for k, v in zip(*pair, strict=True)
                ]
            )
            for pair in zip(key, value, strict=True)
        ]
    )
    for form in (problem.attend, problem.dense):
        assert_close(form(key, key, value), wanted, rtol=1e-9, atol=1e-9)


def test_causal_rows_are_a_loop_over_tokens():
    """Whatever is computed of a key is that of its own prefix, the scale of its threshold too."""
    query, key, value = (tensor[0, 0].detach().numpy() for tensor in tensors())
    rounds, penalty, root = 3, 0.8, np.sqrt(WIDTH)
    limits = [penalty / (4 * np.abs(key[: place + 1]).mean()) for place in range(LENGTH)]
    state = {name: [np.zeros((LENGTH, WIDTH)) for _ in range(2)] for name in ("fit", "multiplier")}
    for _ in range(rounds):
        clean, sparse = [], []
        for side, rows in enumerate((query, key)):
            u = rows - state["fit"][side] + state["multiplier"][side]
            sparse.append(np.stack([shrink(row, limit) for row, limit in zip(u, limits, strict=True)]))
            clean.append(rows - sparse[side] - state["multiplier"][side])
        for side, rows in enumerate((query, key)):
            fit = np.stack(
                [
                    softmax(clean[side][place] @ clean[1][: place + 1].T / root) @ value[: place + 1]
                    for place in range(LENGTH)
                ]
            )
            state["multiplier"][side] = state["multiplier"][side] + rows - fit - sparse[side]
            state["fit"][side] = fit
    found = preset(f"rpc({rounds},{penalty})").attend(*tensors(), is_causal=True)
    assert_close(found[0, 0].detach(), torch.from_numpy(state["fit"][0]), rtol=1e-9, atol=1e-9)


def test_one_round_is_clipped_softmax():
    query, key, value = tensors()
    threshold = (1.2 / (4 * key.abs().mean((-2, -1)))).tolist()
    found = preset("rpc(1,1.2)").attend(query, key, value)
    for batch, head in np.ndindex(2, HEADS):
        pair = (slice(batch, batch + 1), slice(head, head + 1))
        clipped = preset(f"clip({threshold[batch][head]!r})")
        clipped.transform.threshold = threshold[batch][head]
        assert_close(found[pair], clipped.attend(query[pair], key[pair], value[pair]))


def test_the_limits_of_the_penalty():
    query, key, value = tensors()
    for steps in ("released", "textbook"):
        means = preset(f"rpc(3,0,steps={steps})").attend(query, key, value)
        assert_close(means, value.mean(2, keepdim=True).expand_as(means))
        plain = preset(f"rpc(1,1e6,steps={steps})").attend(query, key, value)
        assert_close(plain, scaled_dot_product_attention(query, key, value))


def test_gradients_reach_values_through_every_round():
    inputs = tensors(5)
    for spec in ("rpc(3,1)", "rpc(2,0.2,steps=textbook)"):
        problem = preset(spec)
        for is_causal in (False, True):
            assert torch.autograd.gradcheck(
                lambda *parts, problem=problem, causal=is_causal: problem.attend(*parts, is_causal=causal),
                inputs,
                fast_mode=True,
            )
            fast, slow = (
                torch.autograd.grad(form(*inputs, is_causal=is_causal).sin().sum(), inputs)
                for form in (problem.attend, problem.dense)
            )
            assert_close(fast, slow)


def test_keys_of_0_are_defined():
    query, _, value = tensors()
    key = torch.zeros_like(value, requires_grad=True)
    for spec in ("rpc(3,1)", "rpc(3,1,steps=textbook)"):
        found = preset(spec).attend(query, key, value, is_causal=True)
        assert found.isfinite().all()
        assert all(part.isfinite().all() for part in torch.autograd.grad(found.sum(), [query, key, value]))


def test_packed_documents_are_apart():
    query, key, value = tensors()
    mask = torch.block_diag(torch.ones(4, 4), torch.ones(5, 5)).bool()
    found = preset("rpc(3,1)").attend(query, key, value, mask)
    for part in (slice(0, 4), slice(4, 9)):
        alone = preset("rpc(3,1)").attend(*(tensor[:, :, part] for tensor in (query, key, value)))
        assert_close(found[:, :, part], alone)


def test_fewer_queries_than_keys_are_the_last():
    query, key, value = tensors(heads=4, kv_heads=2)
    problem = preset("rpc(2,1)")
    whole = problem.attend(query, key, value, is_causal=True)
    assert_close(problem.attend(query[:, :, -3:], key, value, is_causal=True), whole[:, :, -3:])
    with pytest.raises(
        UnsupportedError, match=r"rpc\(2,1\) cleans keys as queries.*got 3 queries and 9 keys"
    ):
        problem.attend(query[:, :, :3], key, value, torch.rand(3, LENGTH) > 0.5)


def test_a_map_needs_the_values():
    query, key, value = tensors()
    problem = preset("rpc(2,1)")
    with pytest.raises(ArgumentError, match=r"rpc\(2,1\) needs the input 'value'"):
        problem.attention_map(query, key)
    found = problem.attention_map(query, key, inputs={"value": value})
    assert_close(found @ value, problem.attend(query, key, value))
    layer = pdl.MultiheadAttention(12, 2, attention="rpc(2,1)", batch_first=True).double()
    tokens = torch.randn(1, 5, 12, dtype=torch.float64)
    outputs, weights = layer(tokens, tokens, tokens)
    assert outputs.shape == (1, 5, 12)
    assert_close(weights.sum(-1), torch.ones(1, 5, dtype=torch.float64))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("rpc(0,1)", "rounds must be an integer from 1 to 64; got 0"),
        ("rpc(2,-1)", "penalty must be a number from 0"),
        ("rpc(2,1,steps=other)", "steps must be one of released, textbook; got 'other'"),
        ("rpc(2,1)+boost(2)", "two parts for the solver"),
    ],
)
def test_bad_arguments(spec, message):
    with pytest.raises(SpecError, match=message):
        preset(spec)


def test_what_has_no_meaning():
    query, key, value = tensors()
    for call in (preset("rpc").attend, preset("rpc").dense):
        with pytest.raises(ShapeError, match=r"both need one dimension; got head_dim 6 and value_dim 4"):
            call(query, key, value[..., :4])
    with pytest.raises(UnsupportedError, match=r"rpc\(4,4\) .*no coefficients of one expansion"):
        pdl.solve("rpc", torch.randn(5, 2), torch.randn(5, 2))


def test_weights_that_do_not_add_up_to_1_are_refused():
    with pytest.raises(UnsupportedError, match="grow without bound"):
        preset("constant+rpc(2,2)")


def test_explain_counts_the_rounds():
    plain, cleaned = (preset(spec).explain((1, 2, 64, 8)) for spec in ("softmax", "rpc(3,1)"))
    assert cleaned.forms == ["softmax"]
    assert cleaned.operations == 5 * plain.operations
    assert RobustComponents(3, 1).spec() == "rpc(3,1)"


@pytest.mark.parametrize("spec", ["rpc(2,2)", "bn+rpc(2,2)", "sh(1,1,2,4)+rpc(2,2)"])
def test_numbers_just_at_the_threshold_have_one_derivative(spec):
    """Keys of 0 and 1 in equal parts have the threshold 1 at lambda = 2."""
    query, key, value, _ = draw("step", (1, 4, 30, 6)).rounded(torch.float64)
    problem = preset(spec)
    found, wanted = (
        torch.autograd.grad(form(query, key, value).sin().sum(), (query, key, value))
        for form in (problem.attend, problem.dense)
    )
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("length", [30, 100])
@pytest.mark.parametrize("spec", ["rpc(2,2)", "sh(1,1,2,4)+rpc(2,2)"])
def test_keys_far_from_0_cost_no_digits(spec, length, is_causal):
    """Query gradients of keys that stand still cancel, and those of one round are magnified by the next."""
    inputs = draw("constant, padded right", (2, 4, length, 6))
    found = measure_rounding(prepared(preset(spec), 4, 6), inputs, torch.float32, is_causal)
    assert max(found.ratios.values()) <= BARS[torch.float32]
