"""Hand-worked cases, reductions, random shapes, conditioning, errors."""

import math
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.contract_specs import SPECS
from torch.nn.functional import scaled_dot_product_attention
from torch.testing import assert_close

from primaldual import (
    BatchNormalization,
    Constant,
    EluPlusOne,
    Exponential,
    FeatureMap,
    MaskedKeys,
    Normalizer,
    PooledHeads,
    PrimalProblem,
    Transform,
    Window,
    preset,
)
from primaldual.errors import ArgumentError, ShapeError, UnsupportedError
from primaldual.testing import check_attention
from primaldual.testing.inputs import prepared, tensors


def pair(*rows):
    return torch.tensor(rows, dtype=torch.float64).view(1, 1, 2, -1)


def test_softmax_by_hand():
    out = preset("softmax").attend(pair([0.0], [math.log(3)]), pair([0.0], [1.0]), pair([1.0], [5.0]))
    assert_close(out.flatten(), torch.tensor([3.0, 0.25 * 1 + 0.75 * 5], dtype=torch.float64))


def test_batch_normalised_by_hand():
    """Keys 1 and 5: mean 3, variance 4; query 3 + 2 ln 3: T(q) = ln 3, T(k) = -1, 1, weights 1 to 9."""
    problem = PrimalProblem(transform=BatchNormalization(eps=1e-12))
    query = pair([3 + 2 * math.log(3)], [3.0])
    weights = problem.weights(query, pair([1.0], [5.0]))
    assert_close(weights[0, 0], torch.tensor([[0.1, 0.9], [0.5, 0.5]], dtype=torch.float64))
    assert_close(problem.attend(query, pair([1.0], [5.0]), pair([0.0], [10.0])).flatten()[0].item(), 9.0)


def test_linear_by_hand():
    """Features 1 + x for x > 0: query 1, keys 0 and 2 give kernels 2 and 6."""
    query, key, value = pair([1.0], [0.0]), pair([0.0], [2.0]), pair([4.0], [8.0])
    assert_close(preset("linear").attend(query, key, value)[0, 0, 0].item(), (2 * 4 + 6 * 8) / 8)
    assert_close(preset("linear+constant").attend(query, key, value)[0, 0, 0].item(), 2 * 4 + 6 * 8.0)


def test_scaled_heads_by_hand():
    """One window over both keys: every query gets the mean value."""
    out = preset("sh(2)").attend(pair([7.0], [-3.0]), pair([0.0], [1.0]), pair([1.0], [5.0]))
    assert_close(out.flatten(), torch.tensor([3.0, 3.0], dtype=torch.float64))
    causal = preset("sh(2)").attend(
        pair([7.0], [-3.0]), pair([0.0], [1.0]), pair([1.0], [5.0]), is_causal=True
    )
    assert_close(causal.flatten(), torch.tensor([1.0, 3.0], dtype=torch.float64))


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("spec", ["bn(beta=0,scale=none)", "sh(1,1,1,1)", "window(13)", "window(500)"])
def test_reduces_to_softmax(spec, is_causal):
    inputs = tensors(4, 6, 13)
    exact = scaled_dot_product_attention(*inputs, is_causal=is_causal)
    assert_close(preset(spec).attend(*inputs, is_causal=is_causal), exact, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("is_causal", [False, True])
def test_taylor_tends_to_the_exponential(is_causal):
    query, key, value = (tensor.detach() * 0.5 for tensor in tensors(2, 4, 9))
    exact = preset("softmax").attend(query, key, value, is_causal=is_causal)
    errors = [
        (preset(f"taylor({n})").attend(query, key, value, is_causal=is_causal) - exact).abs().max()
        for n in (2, 4, 8, 16)
    ]
    assert errors[0] > errors[1] > errors[2] > errors[3]
    assert errors[3] < 1e-9


def test_random_features_tend_to_the_exponential():
    query, key, value = (tensor.detach() * 0.3 for tensor in tensors(2, 4, 9))
    exact = preset("softmax").attend(query, key, value)

    def error(count):
        drawn = [preset(f"random({count},seed={seed})").attend(query, key, value) for seed in range(8)]
        return sum((out - exact).abs().mean().item() for out in drawn) / 8

    errors = [error(count) for count in (16, 256, 4096)]
    assert errors[2] < errors[1] / 2 < errors[0] / 4
    assert errors[2] < 0.01


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_fast_equals_dense_on_any_shape(data):
    spec = data.draw(st.sampled_from(SPECS), "spec")
    heads = 4
    kv_heads = data.draw(st.sampled_from([1, 2, 4]), "kv_heads")
    key_length = data.draw(st.integers(2, 24), "key length")
    query_length = data.draw(st.integers(1, 24), "query length")
    dtype = data.draw(st.sampled_from([torch.float64, torch.float32]), "dtype")
    is_causal = data.draw(st.booleans(), "is_causal")
    seed = data.draw(st.integers(0, 10**6), "seed")
    generator = torch.Generator().manual_seed(seed)
    shape = data.draw(
        st.sampled_from(
            [
                None,
                (key_length,),
                (2, 1, 1, key_length),
                (query_length, key_length),
                (2, heads, query_length, key_length),
            ]
        ),
        "mask shape",
    )
    mask = None if shape is None else torch.rand(shape, generator=generator) > 0.3
    inputs = [
        t.detach()
        for t in tensors(heads, 4, key_length, query_length=query_length, kv_heads=kv_heads, seed=seed)
    ]
    problem = prepared(preset(spec), heads, 4)
    is_causal = is_causal or problem.solver.ordered
    by_query = mask is not None and mask.dim() > 1 and 1 < query_length == mask.shape[-2]
    pairwise = is_causal or by_query
    if problem.transform.mixes_queries and pairwise and query_length != key_length:
        with pytest.raises(UnsupportedError, match="mixes the queries"):
            problem.dense(*inputs, mask=mask, is_causal=is_causal)
        with pytest.raises(UnsupportedError, match="mixes the queries"):
            problem.attend(*inputs, mask=mask, is_causal=is_causal)
        return
    if refused := problem.solver.call_refusal(query_length, key_length, is_causal, by_query):
        for form in (problem.dense, problem.attend):
            with pytest.raises(UnsupportedError, match=re.escape(refused)):
                form(*inputs, mask=mask, is_causal=is_causal)
        return
    exact = problem.dense(*inputs, mask=mask, is_causal=is_causal)
    fast = problem.attend(*(tensor.to(dtype) for tensor in inputs), mask=mask, is_causal=is_causal)
    if dtype == torch.float64:
        assert_close(fast, exact, rtol=1e-6, atol=1e-8)
    else:
        fits = exact.abs() < torch.finfo(dtype).max / 1e3  # kernels that nothing normalises leave float32
        assert fast[fits].isfinite().all()


@pytest.mark.parametrize("spec", ["bn", "bn+sh(1,2)", "bn+window(40)"])
@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-2), (torch.bfloat16, 0.25)])
def test_keys_with_a_large_mean(spec, is_causal, dtype, tolerance):
    """Mean 100, deviation 0.1: rounded to the dtype first, then compared with float64 on the same numbers."""
    generator = torch.Generator().manual_seed(0)
    query, key = (100 + 0.1 * torch.randn(2, 1, 2, 200, 16, generator=generator)).unbind(0)
    if dtype == torch.bfloat16:
        query, key = (
            query + torch.randn(query.shape, generator=generator),
            key + torch.randn(key.shape, generator=generator),
        )
    value = torch.randn(1, 2, 200, 16, generator=generator)
    query, key, value = (tensor.to(dtype) for tensor in (query, key, value))
    problem = preset(spec)
    exact = problem.dense(query.double(), key.double(), value.double(), is_causal=is_causal)
    found = problem.attend(query, key, value, is_causal=is_causal).double()
    rows = slice(60, None)
    assert_close(found[:, :, rows], exact[:, :, rows], rtol=0, atol=tolerance)


def test_factored_taylor_matches_dense():
    inputs = tensors(2, 4, 60)
    problem = preset("taylor(2)")
    assert_close(
        problem.attend(*inputs, is_causal=True), problem.dense(*inputs, is_causal=True), rtol=1e-8, atol=1e-9
    )


def test_dropout_is_honoured_by_every_form():
    inputs = tensors(4, 6, 20)
    for spec in ("softmax", "linear", "window(3)", "bn+sh(1,2,2,4)", "constant"):
        problem = preset(spec)
        torch.manual_seed(0)
        assert not torch.allclose(problem.attend(*inputs, dropout_p=0.5), problem.attend(*inputs)), spec
    with pytest.raises(ArgumentError, match=r"dropout_p must be at least 0 and below 1; got 1.0"):
        problem.attend(*inputs, dropout_p=1.0)


def test_ragged_weights_are_a_list():
    query, key, _ = tensors(3, 4, 10)
    weights = preset("sh(1,2,4)").weights(query, key)
    assert [tuple(each.shape) for each in weights] == [(2, 10, 10), (2, 10, 5), (2, 10, 3)]
    assert preset("sh(2,2,2)").weights(query, key).shape == (2, 3, 10, 5)


class Cosine(FeatureMap):
    """A user's own kernel, known only as a function."""

    def kernel(self, query, key):
        unit = [tensor / tensor.norm(dim=-1, keepdim=True).clamp(min=1e-6) for tensor in (query, key)]
        return 1.5 + unit[0] @ unit[1].mT


class RootOfSum(Normalizer):
    def denominator(self, kernel_matrix):
        return kernel_matrix.sum(-1, keepdim=True).clamp(min=0).sqrt()


class Doubled(Transform):
    """A user's own transform with nothing but its definition."""

    def dense(self, query, keys, valid, heads):
        return 2 * query, 2 * keys


@pytest.mark.parametrize(
    "problem",
    [
        PrimalProblem(feature_map=Cosine()),
        PrimalProblem(feature_map=Cosine(), transform=BatchNormalization(), subset=Window(4)),
        PrimalProblem(transform=Doubled()),
        PrimalProblem(
            feature_map=EluPlusOne(), normalizer=Constant(), transform=Doubled(), subset=PooledHeads(1, 2)
        ),
    ],
    ids=lambda problem: problem.spec(),
)
def test_own_parts_work_with_the_others(problem):
    inputs = tensors(2, 4, 9)
    for is_causal in (False, True):
        assert_close(
            problem.attend(*inputs, is_causal=is_causal), problem.dense(*inputs, is_causal=is_causal)
        )


def test_own_normalizer_is_applied():
    query, key, value = tensors(2, 4, 9)
    out = PrimalProblem(normalizer=RootOfSum()).attend(query, key, value)
    kernel = (query @ key.mT / 2).exp()
    assert_close(out, kernel / kernel.sum(-1, keepdim=True).sqrt() @ value)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((1, 2, 5, 64), (1, 2, 5, 32), (1, 2, 5, 64)), "query and key must share head_dim; got 64 and 32"),
        (
            ((2, 5, 4), (1, 2, 5, 4), (1, 2, 5, 4)),
            r"query must be \(batch, heads, length, head_dim\); got shape \(2, 5, 4\)",
        ),
        (
            ((1, 3, 5, 4), (1, 2, 5, 4), (1, 2, 5, 4)),
            "query heads must be a multiple of key heads; got 3 and 2",
        ),
        (
            ((1, 2, 5, 4), (1, 2, 5, 4), (1, 2, 6, 4)),
            r"key and value must share heads and length; got \(2, 5\) and \(2, 6\)",
        ),
        (((1, 2, 5, 4), (3, 2, 5, 4), (3, 2, 5, 4)), "share the batch size; got 1 and 3"),
    ],
)
def test_shapes_that_do_not_fit(shapes, message):
    with pytest.raises(ShapeError, match=message):
        preset("softmax").attend(*(torch.zeros(shape) for shape in shapes))


def test_scales_must_match_heads():
    inputs = tensors(4, 4, 8)
    with pytest.raises(ArgumentError, match=r"one for each of the 4 heads; got 2: \(1, 2\)"):
        preset("sh(1,2)").attend(*inputs)
    with pytest.raises(ArgumentError, match="for each of the 3 heads"):
        preset("sh(1,2)").bind(3, 4)


def test_fixed_masks_need_their_size():
    problem = PrimalProblem(subset=MaskedKeys(torch.ones(4, 4, dtype=torch.bool)))
    with pytest.raises(ShapeError, match=r"masked keys were given for \(Nq, Nk\) = \(4, 4\); got \(8, 8\)"):
        problem.attend(*tensors(4, 4, 8))
    with pytest.raises(ArgumentError, match="mask must be a bool tensor"):
        MaskedKeys(torch.ones(4, 4))


def test_arrays_are_refused():
    array, tensor = np.zeros((1, 1, 2, 3)), torch.zeros(1, 1, 2, 3)
    for name, mixed in {"query": (array, tensor, tensor), "value": (tensor, tensor, array)}.items():
        for attend in (PrimalProblem().attend, PrimalProblem().dense):
            with pytest.raises(ArgumentError, match=rf"{name} must be a torch\.Tensor; got ndarray"):
                attend(*mixed)
    with pytest.raises(ArgumentError, match=r"key must be a torch\.Tensor; got ndarray"):
        PrimalProblem().attention_map(tensor, array)


def test_a_part_of_another_kind_is_refused():
    with pytest.raises(ArgumentError, match="transform must be a Transform; got Window"):
        PrimalProblem(transform=Window(2))


def test_learnable_beta_needs_heads_and_learns():
    problem = preset("bn(beta=0.5,learnable=true)")
    inputs = tensors(3, 4, 8)
    with pytest.raises(ArgumentError, match=r"call problem.bind\(heads, head_dim\) first"):
        problem.attend(*inputs)
    problem.bind(3, 4).double()
    problem.attend(*inputs).square().sum().backward()
    gradient = problem.transform.head_beta.grad
    assert gradient.shape == (3,)
    assert gradient.isfinite().all()


def test_the_contract_catches_a_wrong_fast_form():
    class Wrong(Exponential):
        def score_scale(self, head_dim):
            return 1.0

    with pytest.raises(AssertionError):
        check_attention(PrimalProblem(feature_map=Wrong()))


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize(
    "spec", ["softmax", "bn", "bn+sh(1,2)", "linear+sh(1,2)", "constant+bn", "window(2)"]
)
@pytest.mark.parametrize("sizes", [(1, 0, 3), (1, 3, 0), (1, 0, 0), (0, 3, 3)])
def test_nothing_gives_nothing(spec, sizes, is_causal):
    batch, queries, keys = sizes
    query, key, value = (torch.randn(batch, 2, length, 4) for length in (queries, keys, keys))
    out = preset(spec).bind(2, 4).attend(query, key, value, is_causal=is_causal)
    assert out.shape == (batch, 2, queries, 4)
    assert not out.any()


@pytest.mark.filterwarnings("ignore:.*torch.jit.script")
def test_torchscript_is_refused_by_name():
    from primaldual import MultiheadAttention

    layer = MultiheadAttention(16, 4, attention="bn")
    for module in (layer, layer.problem, torch.nn.Sequential(layer)):
        with pytest.raises(
            UnsupportedError, match=r"bn: torch.jit.script reads .* accepted are torch.compile"
        ):
            torch.jit.script(module)
