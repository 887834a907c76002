"""Convolutions as transforms: by hand, without leaks, learned, and what they refuse."""

import math

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import conv2d, scaled_dot_product_attention
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode

from primaldual import Convolution, Convolution2d, MultiheadAttention, PooledHeads, PrimalProblem, preset
from primaldual.analysis import layer_flops
from primaldual.errors import ArgumentError, ShapeError, SpecError, UnsupportedError
from primaldual.experiments.mathml import mathml
from primaldual.testing.inputs import prepared, tensors


def row(*numbers):
    return torch.tensor(numbers, dtype=torch.float64).view(1, 1, -1, 1)


def with_taps(spec, *taps):
    problem = preset(spec).bind(1, 1).double()
    problem.transform.weight.data.copy_(torch.tensor(taps))
    return problem


def softmax_of(*scores):
    return torch.tensor(scores, dtype=torch.float64).softmax(0)


def test_keys_by_hand():
    """Taps 1, 1, -1 turn the keys 1, 2, 4 into -1, -1, 6."""
    problem = with_taps("conv(3)", 1.0, 1.0, -1.0)
    weights = problem.weights(row(0.5, 1.0, 0.0), row(1.0, 2.0, 4.0))
    assert_close(weights[0, 0, 0], softmax_of(-0.5, -0.5, 3.0))
    assert_close(weights[0, 0, 1], softmax_of(-1.0, -1.0, 6.0))


def test_a_causal_mask_cuts_the_filter_off_at_the_query():
    """Query 1 sees the keys 1 and 2 only: they become 1 - 2 and 1 + 2."""
    problem = with_taps("conv(3)", 1.0, 1.0, -1.0)
    weights = problem.weights(row(0.5, 1.0, 0.0), row(1.0, 2.0, 4.0), is_causal=True)
    assert_close(weights[0, 0, 1], torch.cat([softmax_of(-1.0, 3.0), torch.zeros(1, dtype=torch.float64)]))
    masked = torch.tensor([True, False, True])
    found = problem.weights(row(1.0), row(1.0, math.nan, 4.0), masked)
    assert_close(found[0, 0, 0, [0, 2]], softmax_of(1.0, 4.0))


def test_causal_taps_by_hand():
    """Taps 100, 10, 1 at j - 2, j - 1, j turn the keys 1, 2, 4 into 1, 12, 124."""
    problem = with_taps("conv(3,causal=true)", 100.0, 10.0, 1.0)
    assert_close(problem.weights(row(0.01), row(1.0, 2.0, 4.0))[0, 0, 0], softmax_of(0.01, 0.12, 1.24))


def test_queries_by_hand():
    problem = with_taps("conv(3,queries=true)", 1.0, 1.0, -1.0)
    weights = problem.weights(row(1.0, 2.0), row(1.0, 2.0))
    assert_close(weights[0, 0, 0], softmax_of(-1.0 * -1.0, -1.0 * 3.0))
    assert_close(weights[0, 0, 1], softmax_of(3.0 * -1.0, 3.0 * 3.0))
    causal = problem.weights(row(1.0, 2.0), row(1.0, 2.0), is_causal=True)
    assert_close(causal[0, 0, 1], weights[0, 0, 1])


def test_pooled_keys_are_convolved_after_pooling():
    """Pools 1.5, 3.5, 5 of the keys 1, 2, 3, 4, 5."""
    problem = with_taps("conv(3)+sh(2)", 1.0, 1.0, -1.0)
    weights = problem.weights(row(1.0), row(1.0, 2.0, 3.0, 4.0, 5.0))
    assert_close(weights[0, 0, 0], softmax_of(1.5 - 3.5, 1.5 + 3.5 - 5, 3.5 + 5))


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize(
    "spec", ["conv(3)", "conv(5,causal=true)", "conv(3,queries=true)", "conv2d(3,prefix=4)"]
)
def test_the_first_filter_is_the_identity(spec, is_causal):
    inputs = tensors(4, 6, 13)
    exact = scaled_dot_product_attention(*inputs, is_causal=is_causal)
    for problem in (preset(spec), preset(spec).bind(4, 6)):
        assert_close(problem.attend(*inputs, is_causal=is_causal), exact, rtol=1e-9, atol=1e-10)


def test_an_image_with_a_token_in_front_matches_conv2d():
    problem = prepared(preset("conv2d(3,grid=3x4,prefix=1)"), 2, 5).double()
    query, key, value = tensors(2, 5, 13)
    image = key[:, :, 1:].mT.reshape(2, 10, 3, 4)
    oracle = conv2d(image, problem.transform.weight.flatten(0, 1).unsqueeze(1), padding=1, groups=10)
    keys = torch.cat([key[:, :, :1], oracle.view(2, 2, 5, 12).mT], 2)
    assert_close(problem.attend(query, key, value), scaled_dot_product_attention(query, keys, value))


@pytest.mark.parametrize(
    "spec", ["conv(5)", "conv(3,queries=true)", "conv2d(3,grid=3x4)", "conv(3)+bn", "conv(3)+sh(2,1)"]
)
def test_nothing_that_a_query_may_not_attend_reaches_it(spec):
    problem = prepared(preset(spec), 2, 4).double()
    query, key, value = (tensor.detach() for tensor in tensors(2, 4, 12))
    mask = torch.rand(12, 12, generator=torch.Generator().manual_seed(3)) > 0.4
    out = problem.attend(query, key, value, mask)
    for position in range(12):
        others = (~mask[:, position]).nonzero().squeeze(-1)
        others = others[others != position]
        changed = key.clone()
        changed[:, :, position] += 7
        moved = query.clone()
        moved[:, :, position] -= 3
        found = problem.attend(moved, changed, value, mask)
        assert_close(found[:, :, others], out[:, :, others])
    assert not torch.allclose(found, out)


@pytest.mark.parametrize("spec", ["conv(3)", "conv(3,queries=true)", "conv2d(3,grid=3x4)"])
def test_every_head_has_its_own_filters(spec):
    problem = prepared(preset(spec + "+sh(2,1,2,3,grid=3x4)"), 4, 5).double()
    inputs = tensors(4, 5, 12)
    out = problem.attend(*inputs)
    for head, scale in enumerate((2, 1, 2, 3)):
        alone = preset(f"{spec}+sh({scale},grid=3x4)").bind(1, 5).double()
        alone.transform.weight.data.copy_(problem.transform.weight[head : head + 1])
        assert_close(out[:, head], alone.attend(*(tensor[:, head : head + 1] for tensor in inputs))[:, 0])


def test_the_prefix_is_seen_by_no_other():
    problem = prepared(preset("conv(3,prefix=2)"), 1, 4).double()
    keys = torch.randn(1, 1, 1, 6, 4, dtype=torch.float64)
    valid = torch.ones(1, 1, 1, 6, dtype=torch.bool)
    heads = problem.subset.head_sets(1)[0]
    changed = keys.clone()
    changed[..., :2, :] = 5
    _, found = problem.transform.dense(keys[:, :, 0], keys, valid, heads)
    _, other = problem.transform.dense(keys[:, :, 0], changed, valid, heads)
    assert torch.equal(found[..., 2:, :], other[..., 2:, :])
    assert torch.equal(found[..., :2, :], keys[..., :2, :])


def test_padding_of_the_queries_changes_nothing():
    problem = prepared(preset("conv(5,queries=true)"), 2, 4)
    query, key, value = (tensor.detach() for tensor in tensors(2, 4, 9))
    mask = torch.arange(9) < 6
    clean = problem.attend(query, key, value, mask)
    query[:, :, 6:] = math.nan
    assert torch.equal(problem.attend(query, key, value, mask)[:, :, :6], clean[:, :, :6])


@pytest.mark.parametrize(
    ("spec", "is_causal"),
    [
        ("conv(3)", False),
        ("conv(3,queries=true)", False),
        ("conv(3)+bn", False),
        ("bn+conv(3)", False),
        ("conv(3)+sh(1,2)", False),
        ("conv2d(3,grid=4x4)", False),
        ("conv(3,causal=true)", True),
        ("conv(3,causal=true)+bn", True),
        ("linear+conv(3,causal=true)", True),
    ],
)
def test_fast_forms_are_taken(spec, is_causal):
    padding = torch.arange(16) < 13
    explained = preset(spec).bind(2, 4).explain((2, 2, 16, 4), mask=padding, is_causal=is_causal)
    assert "dense" not in explained.forms


@pytest.mark.parametrize(
    "spec", ["conv(3)", "conv(3,causal=true)+bn", "conv2d(3,grid=3x4)", "conv(3,queries=true)"]
)
def test_filters_learn_in_a_layer(spec):
    layer = MultiheadAttention(8, 2, attention=spec, batch_first=True)
    inputs = torch.randn(2, 12, 8)
    for is_causal in (False, True):
        layer.zero_grad()
        layer(inputs, inputs, inputs, need_weights=False, is_causal=is_causal)[0].square().sum().backward()
        (weight,) = (
            tensor
            for name, tensor in layer.named_parameters()
            if name.endswith(".weight") and "transform" in name
        )
        assert weight.shape[:2] == (2, 4)
        assert weight.grad.isfinite().all()
        assert (weight.grad != 0).all(-1).any()
    other = MultiheadAttention(8, 2, attention=spec, batch_first=True)
    layer.problem = prepared(layer.problem, 2, 4)
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other(inputs, inputs, inputs)[0], layer(inputs, inputs, inputs)[0])


def test_layers_with_all_parts_train_compile_and_autocast():
    layer = MultiheadAttention(16, 4, attention="conv(3)+bn+sh(1,1,2,4)", batch_first=True)
    layer.problem = prepared(layer.problem, 4, 4)
    inputs = torch.randn(2, 11, 16)
    padding = torch.arange(11).expand(2, -1) >= torch.tensor([[11], [8]])
    out = layer(inputs, inputs, inputs, padding, need_weights=False)[0]
    assert_close(layer.eval()(inputs, inputs, inputs, padding, need_weights=False)[0], out)
    torch.compiler.reset()
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    assert_close(compiled(inputs, inputs, inputs, padding, need_weights=False)[0], out, rtol=1e-4, atol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        low = layer(inputs, inputs, inputs, padding, need_weights=False)[0]
    assert_close(low.float(), out, rtol=0.1, atol=0.1)


@pytest.mark.parametrize("method", ["attend", "dense", "weights", "attention_map"])
@pytest.mark.parametrize(
    "spec", ["conv(3,queries=true)", "conv(3,queries=true)+bn", "conv(3,queries=true)+window(2)"]
)
def test_mixed_queries_need_the_whole_sequence(spec, method):
    problem = preset(spec)
    inputs = tensors(2, 4, 9, query_length=1)[: 3 if method in ("attend", "dense") else 2]
    with pytest.raises(
        UnsupportedError, match=r"conv\(3,queries=true\).* mixes the queries: .* got 1 queries and 9 keys"
    ):
        getattr(problem, method)(*inputs, is_causal=True)


def test_two_sequences_are_convolved_each_by_itself():
    problem = prepared(preset("conv(3,queries=true)"), 2, 4)
    query, key, value = tensors(2, 4, 9, query_length=5)
    mask = torch.arange(9) < 7
    assert_close(problem.attend(query, key, value, mask), problem.dense(query, key, value, mask))
    alone = problem.attend(query[:, :, :1], key, value, mask)
    assert not torch.allclose(problem.attend(query, key, value, mask)[:, :, :1], alone)


@pytest.mark.parametrize("make", [Convolution, Convolution2d])
@pytest.mark.parametrize("size", [2, 0, -1, True, 3.0, "3"])
def test_sizes_are_odd(make, size):
    with pytest.raises(ArgumentError, match=f"kernel_size must be an odd integer from 1 to .*; got {size!r}"):
        make(size)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Convolution(3, causal="yes"), "causal must be True or False; got 'yes'"),
        (lambda: Convolution2d(3, queries=1), "queries must be True or False; got 1"),
        (lambda: Convolution(3, prefix=-1), "prefix must be an integer 0 or more; got -1"),
        (lambda: Convolution2d(3, grid=8), r"grid must be \(rows, columns\), both integers 1 or more; got 8"),
    ],
)
def test_other_arguments(make, message):
    with pytest.raises(ArgumentError, match=message):
        make()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "conv(4)",
            r"conv: kernel_size must be an odd integer from 1 to 1023; got 4; accepted is conv\(kernel_size=3",
        ),
        ("conv2d(3,causal=true)", r"conv2d: got an unexpected keyword argument 'causal'"),
    ],
)
def test_bad_specs(spec, message):
    with pytest.raises(SpecError, match=message):
        preset(spec)


@pytest.mark.parametrize("method", ["attend", "dense"])
@pytest.mark.parametrize(
    ("transform", "subset", "error", "message"),
    [
        (Convolution2d(3), None, ShapeError, "got 12 positions with prefix 0, and 12 is not a square"),
        (
            Convolution2d(3, prefix=12),
            None,
            ShapeError,
            "got 12 positions with prefix 12, and 0 is not a square",
        ),
        (Convolution2d(3, grid=(3, 3)), None, ShapeError, "grid 3x3 with prefix 0 needs 9 positions; got 12"),
        (
            Convolution2d(3),
            PooledHeads(2, 2),
            ArgumentError,
            "needs the grid of the subset.* windows of 2 in a row",
        ),
        (
            Convolution2d(3, grid=(3, 4)),
            PooledHeads(1, 2, grid=(4, 3)),
            ArgumentError,
            r"grid of the convolution and of the subset must agree; got \(3, 4\) and \(4, 3\)",
        ),
        (
            Convolution2d(3, grid=(3, 4)),
            PooledHeads(1, 2),
            ArgumentError,
            r"grid \(3, 4\) of the convolution must be the subset's too, which pools positions; it has none",
        ),
        (
            Convolution(3, prefix=1),
            PooledHeads(1, 2, prefix=2),
            ArgumentError,
            "prefix .* must agree; got 1 and 2",
        ),
        (
            Convolution(3, prefix=1),
            PooledHeads(2, 2),
            ArgumentError,
            "prefix 1 of the convolution must be the subset's",
        ),
    ],
)
def test_layouts_that_do_not_fit(transform, subset, error, message, method):
    problem = PrimalProblem(transform=transform, subset=subset)
    with pytest.raises(error, match=message):
        getattr(problem, method)(*tensors(2, 4, 12))


def test_the_layout_of_the_subset_serves_both():
    inputs = tensors(2, 4, 13)
    mine = prepared(preset("conv2d(3,grid=3x4,prefix=1)+sh(1,2,grid=3x4,prefix=1)"), 2, 4)
    theirs = prepared(preset("conv2d(3)+sh(1,2,grid=3x4,prefix=1)"), 2, 4)
    assert torch.equal(mine.attend(*inputs), theirs.attend(*inputs))


def test_filters_for_other_heads_are_refused():
    problem = preset("conv(3)").bind(2, 4)
    for sizes in ((3, 4), (2, 6)):
        with pytest.raises(ShapeError, match=r"conv\(3\) has filters for 2 heads of dimension 4; got head"):
            problem.attend(*tensors(*sizes, 9))


@pytest.mark.parametrize("spec", ["conv(3)+bn+sh(1,1,2,4)", "conv2d(3,grid=3x4)", "conv(5,queries=true)"])
def test_operations_are_counted_as_pytorch_does(spec):
    layer = MultiheadAttention(32, 4, attention=spec, batch_first=True)
    inputs = torch.randn(1, 12, 32)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        layer(inputs, inputs, inputs, need_weights=False)
    assert layer_flops(layer, 12).total == counter.get_total_flops()


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("conv(5)", "T(k_j) = Σ_(|t| ≤ 2) w_t ⊙ k_(j+t),  T(x) = x for queries"),
        ("conv(5,causal=true)", "T(k_j) = Σ_(0 ≤ t ≤ 4) w_t ⊙ k_(j−t)"),
        ("conv2d(3,queries=true)", "T(k_ij) = Σ_(|s|, |t| ≤ 1) w_st ⊙ k_(i+s, j+t),  queries likewise"),
        ("conv(3,prefix=1)", "the first key stays as it is"),
        ("conv(3)+bn", "T(x) = T_2(T_1(x)), each on what the one before gives"),
        ("conv(3)+bn", "T_2(x) = (x − μ) / √(σ² + 1e-05)"),
    ],
)
def test_equations(spec, text):
    problem = preset(spec)
    assert text in problem.equation()
    assert "\\" not in mathml(problem.equation("latex"))
