"""Boosting and scaled attention against matrices written out, and loops over positions."""

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention
from torch.testing import assert_close

import primaldual as pdl
from primaldual import Boost, PrimalProblem, Scaled, preset
from primaldual.errors import ArgumentError, SpecError, UnsupportedError
from primaldual.kernels.masks import causal_mask

HEADS, LENGTH, WIDTH = 2, 9, 6


def tensors(length=LENGTH, heads=HEADS, kv_heads=HEADS):
    generator = torch.Generator().manual_seed(0)
    counts = (heads, kv_heads, kv_heads)
    return [torch.randn(2, count, length, WIDTH, generator=generator).double() for count in counts]


def softmax(query, key, is_causal=False):
    scores = query @ key.mT / WIDTH**0.5
    if is_causal:
        scores = scores.masked_fill(~causal_mask(query.shape[2], key.shape[2]), -torch.inf)
    return scores.softmax(-1)


@pytest.mark.parametrize("is_causal", [False, True])
def test_twicing_is_two_a_minus_a_squared(is_causal):
    query, key, value = tensors()
    weights = softmax(query, key, is_causal)
    wanted = (2 * weights - weights @ weights) @ value
    for spec in ("twicing", "boost(2)"):
        assert_close(preset(spec).attend(query, key, value, is_causal=is_causal), wanted)
        assert_close(preset(spec).dense(query, key, value, is_causal=is_causal), wanted)
    rows = preset("twicing").weights(query, key, is_causal=is_causal).sum(-1)
    assert_close(rows, torch.ones_like(rows))


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("residual", ["queries", "keys"])
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_boosting_is_a_power_of_the_remainder(steps, residual, is_causal):
    query, key, value = tensors()
    rows = query if residual == "queries" else key
    left = torch.eye(LENGTH).double() - softmax(rows, key, is_causal)
    coefficients = sum(torch.linalg.matrix_power(left, power) for power in range(steps)) @ value
    wanted = softmax(query, key, is_causal) @ coefficients
    problem = PrimalProblem(solver=Boost(steps, residual=residual))
    assert_close(problem.attend(query, key, value, is_causal=is_causal), wanted)
    if residual == "queries":
        identity = value - torch.linalg.matrix_power(left, steps) @ value
        assert_close(wanted, identity)


def test_one_step_is_softmax():
    query, key, value = tensors()
    for is_causal in (False, True):
        wanted = scaled_dot_product_attention(query, key, value, is_causal=is_causal)
        assert_close(preset("boost(1)").attend(query, key, value, is_causal=is_causal), wanted)


def test_the_residual_at_keys_tends_to_0_where_queries_are_keys():
    _, key, value = tensors()
    errors = [
        float((preset(f"boost({steps},residual=keys)").attend(key, key, value) - value).norm())
        for steps in (1, 4, 16, 64)
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.3 * errors[0]


def test_the_residual_at_queries_may_diverge():
    query, _, value = tensors()
    sizes = [float(preset(f"boost({steps})").attend(query, -query, value).norm()) for steps in (2, 16, 64)]
    assert sizes == sorted(sizes)
    assert sizes[-1] > 100 * sizes[0]


def test_scaled_shrinks_targets_by_their_own_fit():
    query, key, value = tensors()
    problem = PrimalProblem(solver=Scaled()).bind(HEADS, WIDTH).double()
    assert_close(problem.attend(query, key, value), scaled_dot_product_attention(query, key, value))
    with torch.no_grad():
        problem.solver.share.copy_(torch.tensor([0.4, -0.2]))
    shares = torch.tensor([0.4, -0.2]).double()[:, None, None]
    wanted = softmax(query, key, True) @ (value - shares * (softmax(key, key, True) @ value))
    assert_close(problem.attend(query, key, value, is_causal=True), wanted)


def test_residuals_by_loop_over_a_sequence():
    """The prefix rule of boosting: the residual of a position is that of its own prefix, whatever follows."""
    query, key, value = tensors()
    for residual, rows in (("queries", query), ("keys", key)):
        left = torch.zeros_like(value)
        outputs = []
        for place in range(LENGTH):
            seen = slice(0, place + 1)
            row = rows[:, :, place : place + 1]
            fit = softmax(row, key[:, :, seen]) @ value[:, :, seen]
            left[:, :, place] = value[:, :, place] - fit[:, :, 0]
            boosted = value[:, :, seen] + left[:, :, seen]
            outputs.append(softmax(query[:, :, place : place + 1], key[:, :, seen]) @ boosted)
        found = preset(f"boost(2,residual={residual})").attend(query, key, value, is_causal=True)
        assert_close(found, torch.cat(outputs, 2))


@pytest.mark.parametrize("spec", ["boost(3)", "boost(2,residual=keys)", "scaled(0.3)"])
def test_decoding_keeps_residuals_that_are_final(spec):
    query, key, value = tensors(heads=4, kv_heads=2)
    problem = preset(spec).bind(4, WIDTH).double()
    state = problem.init_state(2, 4, WIDTH, kv_heads=2, dtype=torch.float64, capacity=2)
    wanted = problem.attend(query, key, value, is_causal=True)
    found, held = [], None
    for place in range(LENGTH):
        found.append(
            problem.step(state, *(tensor[:, :, place : place + 1] for tensor in (query, key, value)))
        )
        coefficients = state.memories[0]["coefficients"][:, :, : place + 1].clone()
        if held is not None:
            assert_close(coefficients[:, :, :-1], held, rtol=0, atol=0)
        held = coefficients
    assert_close(torch.cat(found, 2), wanted)
    long = problem.init_state(2, 4, WIDTH, kv_heads=2, dtype=torch.float64, capacity=1)
    drawn = tensors(40, heads=4, kv_heads=2)
    pieces = zip(*(tensor.split([1, 15, 1, 20, 3], 2) for tensor in drawn), strict=True)
    rows = torch.cat([problem.step(long, *piece) for piece in pieces], 2)  # room grows between pieces
    assert_close(rows, problem.attend(*drawn, is_causal=True))
    state.crop(4)
    again = problem.step(state, *(tensor[:, :, 4:] for tensor in (query, key, value)))
    assert_close(again, wanted[:, :, 4:])
    copy = problem.init_state(2, 4, WIDTH, kv_heads=2, dtype=torch.float64)
    copy.load_state_dict(state.state_dict())
    assert copy.lengths == state.lengths


def test_residuals_at_queries_need_a_query_for_every_key():
    query, key, value = tensors()
    for form in ("attend", "dense"):
        with pytest.raises(
            UnsupportedError, match=r"boost\(2\) takes residuals at the queries.*got 3 queries and 9 keys"
        ):
            getattr(preset("boost(2)"), form)(query[:, :, :3], key, value, is_causal=True)
    problem = preset("boost(2,residual=keys)")
    whole = problem.attend(query, key, value, is_causal=True)
    assert_close(problem.attend(query[:, :, -3:], key, value, is_causal=True), whole[:, :, -3:])
    with pytest.raises(
        UnsupportedError, match="a mask that differs by query says nothing of keys without one"
    ):
        problem.attend(query[:, :, :3], key, value, torch.rand(3, LENGTH) > 0.5)


def test_nan_in_padded_queries_stays_there():
    query, key, value = tensors()
    mask = torch.arange(LENGTH) < 6
    wanted = preset("boost(2)").attend(query, key, value, mask)
    query[:, :, 6:] = torch.nan
    assert_close(
        preset("boost(2)").attend(query, key, value, mask)[:, :, :6], wanted[:, :, :6], rtol=0, atol=0
    )


def test_packed_documents_are_apart():
    query, key, value = tensors()
    mask = torch.block_diag(torch.ones(4, 4), torch.ones(5, 5)).bool()
    for spec in ("boost(3)", "boost(2,residual=keys)"):
        found = preset(spec).attend(query, key, value, mask, is_causal=True)
        for part in (slice(0, 4), slice(4, 9)):
            alone = preset(spec).attend(
                *(tensor[:, :, part] for tensor in (query, key, value)), is_causal=True
            )
            assert_close(found[:, :, part], alone)


def test_dropout_drops_before_every_product():
    torch.manual_seed(0)
    query, key, value = tensors()
    wanted = preset("boost(2)").attend(query, key, value)
    drawn = [preset("boost(2)").attend(query, key, value, dropout_p=0.3) for _ in range(600)]
    assert_close(torch.stack(drawn).mean(0), wanted, rtol=0, atol=0.2)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("boost(0)", "steps must be an integer from 1 to 64; got 0"),
        ("boost(2,residual=values)", "residual must be 'queries' or 'keys'; got 'values'"),
        ("scaled(x)", "start must be a number"),
        ("boost(2)+scaled(0)", "two parts for the solver"),
    ],
)
def test_bad_arguments(spec, message):
    with pytest.raises(SpecError, match=message):
        preset(spec)


def test_what_has_no_meaning():
    with pytest.raises(
        UnsupportedError, match=r"boost\(2\) attends .* conv\(3,queries=true\) mixes the queries"
    ):
        preset("conv(3,queries=true)+boost(2)")
    with pytest.raises(ArgumentError, match=r"call problem\.bind"):
        preset("scaled(0)").attend(*tensors())
    with pytest.raises(UnsupportedError, match=r"boost\(2\) states its own coefficients"):
        pdl.kernel_scale("boost(2)", torch.randn(5, 2))


def test_explain_counts_the_products():
    plain, boosted = (preset(spec).explain((1, 2, 64, 8)) for spec in ("softmax", "boost(3)"))
    assert boosted.forms == ["softmax"]
    assert boosted.operations == 3 * plain.operations
    assert "solver boost(3): 2 products at the queries give the coefficients" in str(boosted)


def test_cross_attention_by_keys():
    layer = pdl.MultiheadAttention(12, 2, attention="boost(2,residual=keys)", batch_first=True).double()
    assert layer(torch.randn(1, 3, 12).double(), *torch.randn(2, 1, 5, 12).double())[0].shape == (1, 3, 12)
