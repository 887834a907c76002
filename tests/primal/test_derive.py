"""Attentions from plain functions: the contract, worked cases, and what is refused."""

import functools

import pytest
import torch
from tests.quick import one_in
from torch import nn
from torch.nn.functional import softplus
from torch.testing import assert_close

from primaldual import Chain, Exponential, PrimalProblem, Window, derive, preset
from primaldual.errors import ArgumentError, ShapeError, SpecError
from primaldual.experiments.mathml import mathml
from primaldual.testing import check_attention
from primaldual.testing.inputs import tensors


def squares_and_one(x):
    return torch.cat([x * x, torch.ones_like(x[..., :1])], -1)


def gaussian(query, key):
    return (-(query.unsqueeze(-2) - key.unsqueeze(-3)).square().mean(-1)).exp()


def root(kernel_matrix):
    return (kernel_matrix.square().sum(-1, keepdim=True) + 1e-6).sqrt()


def shrunk(x):
    return x / (1 + x.square().sum(-1, keepdim=True)).sqrt()


def dilated(query, key):
    return ((query - key) % 3 == 0) | (query == key + 1)


@pytest.mark.parametrize(
    "problem",
    one_in(
        2,
        [
            derive(feature_map=gaussian),
            derive(feature_map=squares_and_one),
            derive(normalizer=root),
            derive(transform=shrunk),
            derive(subset=dilated),
            derive(transform=shrunk, subset="sh(1,1,2,4)"),
            derive("linear", transform=shrunk, subset="window(3)"),
        ],
    ),
    ids=lambda problem: problem.spec(),
)
def test_functions_keep_the_contract(problem):
    check_attention(problem, level="quick")


@pytest.mark.long
def test_functions_of_every_choice_keep_the_whole_contract():
    check_attention(derive(squares_and_one, root, shrunk, dilated))


def test_functions_say_what_the_parts_say():
    inputs = tensors(4, 6, 13)
    for is_causal in (False, True):
        for derived, spec in (
            (derive(lambda x: nn.functional.elu(x) + 1), "linear"),
            (derive(lambda query, key: (query @ key.mT / 6**0.5).exp()), "softmax"),
            (derive("linear", lambda matrix: torch.ones_like(matrix[..., :1])), "linear+constant"),
            (derive(subset=lambda query, key: (query - key).abs() <= 3), "window(3)"),
            (derive("taylor(1)", transform="conv(3)+bn"), "taylor(1)+conv(3)+bn"),
        ):
            assert_close(
                derived.attend(*inputs, is_causal=is_causal),
                preset(spec).attend(*inputs, is_causal=is_causal),
            )


def test_transforms_act_on_queries_and_keys():
    query, key, value = tensors(2, 4, 7)
    found = derive(transform=torch.tanh).attend(query, key, value)
    assert_close(found, preset("softmax").attend(query.tanh(), key.tanh(), value))


def test_masked_keys_need_no_value_of_the_transform():
    problem = derive(transform=lambda x: x / x.norm(dim=-1, keepdim=True))
    query, key, value = tensors(2, 4, 7)
    mask = torch.arange(7) < 5
    found = problem.attend(query, key, value, mask)
    assert_close(found, problem.dense(query, key, value, mask))
    assert_close(found, problem.attend(query, key[:, :, :5], value[:, :, :5]))


def test_query_positions_end_with_the_keys():
    allowed = derive(subset=lambda query, key: key == query - 1).subset.allowed(2, 4, torch.device("cpu"))
    assert allowed.int().tolist() == [[0, 1, 0, 0], [0, 0, 1, 0]]


@pytest.mark.parametrize(
    "problem",
    [derive(torch.square), derive(transform=shrunk), derive(transform=shrunk, subset="window(2)")],
    ids=lambda problem: problem.spec(),
)
def test_fast_forms_are_taken(problem):
    for is_causal in (False, True):
        assert "dense" not in problem.explain((2, 4, 13, 6), is_causal=is_causal).forms


def test_features_are_counted_once():
    sizes = []

    def seen(x):
        sizes.append(tuple(x.shape))
        return x

    problem = derive(seen).bind(2, 4)
    assert (problem.feature_map.feature_count(4), problem.feature_map.feature_count(4)) == (4, 4)
    assert sizes == [(1, 1, 2, 4)]


@pytest.mark.parametrize(
    ("arguments", "spec"),
    [
        ({"feature_map": squares_and_one}, "feature_map(squares_and_one)"),
        ({"feature_map": gaussian}, "kernel(gaussian)"),
        (
            {"normalizer": root, "transform": shrunk, "subset": dilated},
            "normalizer(root)+transform(shrunk)+subset(dilated)",
        ),
        ({"transform": lambda x: x}, "transform(lambda)"),
        ({"feature_map": functools.partial(softplus, beta=2)}, "feature_map(softplus)"),
        ({"feature_map": torch.exp}, "feature_map(exp)"),
        (
            {"feature_map": Exponential(), "transform": "bn(beta=0.8)", "subset": Window(3)},
            "bn(beta=0.8)+window(3)",
        ),
        ({"normalizer": "constant", "transform": "conv(3)+bn"}, "constant+conv(3)+bn"),
        ({}, "softmax"),
    ],
)
def test_specs_and_equations_name_the_functions(arguments, spec):
    problem = derive(**arguments)
    assert problem.spec() == spec
    assert spec in repr(problem)
    for name in ("squares_and_one", "gaussian", "root", "shrunk", "dilated"):
        assert (name in problem.equation()) == (name in spec)
    assert "\\" not in mathml(problem.equation("latex"))


def test_a_function_in_a_chain_keeps_its_name():
    def aT(x):  # noqa: N802 - the T inside must not be renamed
        return x

    chain = Chain(derive(transform=aT).transform, preset("bn").transform)
    assert "T_1(x) = aT(x)" in chain.formula("text")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"feature_map": lambda: 0},
            ArgumentError,
            "feature_map must be a function of 1 or 2 arguments; got lambda, which needs 0",
        ),
        (
            {"normalizer": gaussian},
            ArgumentError,
            "normalizer must be a function of 1 argument; got gaussian, which needs 2",
        ),
        (
            {"subset": shrunk},
            ArgumentError,
            "subset must be a function of 2 arguments; got shrunk, which needs 1",
        ),
        (
            {"transform": 3},
            ArgumentError,
            "transform must be a Transform, a word of a spec or a function; got int",
        ),
        (
            {"feature_map": Exponential},
            ArgumentError,
            "feature_map must be a FeatureMap, .*; got the class Exponential",
        ),
        ({"feature_map": nn.Linear(2, 2)}, ArgumentError, "feature_map must be a FeatureMap, .*; got Linear"),
        ({"subset": PrimalProblem()}, ArgumentError, "subset must be a Subset, .*; got PrimalProblem"),
        (
            {"feature_map": "bn(beta=0.8)"},
            SpecError,
            r"must be a word for the feature_map; got 'bn\(beta=0.8\)', which is one for the transform",
        ),
        (
            {"transform": "bn+sh"},
            SpecError,
            "must be a word for the transform; got 'bn\\+sh', which is one for the subset",
        ),
        ({"transform": "bm"}, SpecError, "unknown part 'bm'"),
    ],
)
def test_what_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        derive(**arguments)


@pytest.mark.parametrize(
    ("problem", "error", "message"),
    [
        (
            derive(lambda x: x.sum(-1)),
            ShapeError,
            r"feature_map\(lambda\) must be \(..., D\) -> \(..., F\), here \(.*, F\); got",
        ),
        (
            derive(lambda q, k: q),
            ShapeError,
            r"kernel\(lambda\) must be .* -> \(..., M, N\), here \(2, 2, 1, 9, 9\); got \(2, 2, 1, 9, 4\)",
        ),
        (
            derive(normalizer=lambda m: m.sum(-1)),
            ShapeError,
            r"normalizer\(lambda\) must be \(..., M, N\) -> \(..., M, 1\), here \(2, 2, 9, 1\); got \(2, 2, 9\)",
        ),
        (
            derive(transform=lambda x: x[..., :2]),
            ShapeError,
            r"transform\(lambda\) must be \(..., D\) -> \(..., D\)",
        ),
        (derive(transform=lambda x: 3), ShapeError, r"transform\(lambda\) must return a tensor, .*; got int"),
        (
            derive(subset=lambda i, j: i - j),
            ArgumentError,
            r"subset\(lambda\) must return a bool tensor, True = in the subset; got torch.int64",
        ),
        (derive(subset=lambda i, j: True), ArgumentError, "got bool"),
        (
            derive(subset=lambda i, j: (i == j)[:3]),
            ShapeError,
            r"must broadcast to \(Nq, Nk\) = \(9, 9\); got shape \(3, 9\)",
        ),
    ],
)
def test_wrong_shapes(problem, error, message):
    with pytest.raises(error, match=message):
        problem.attend(*tensors(2, 4, 9))


def _narrow(inputs):
    return inputs @ torch.ones(2, 2, dtype=inputs.dtype)


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ({"feature_map": _narrow}, r"feature_map\(_narrow\) must be \(\.\.\., D\) -> \(\.\.\., F\); given"),
        (
            {"feature_map": lambda query, key: query @ key},
            r"kernel\(lambda\) must be .*; given .* it raised RuntimeError",
        ),
        (
            {"normalizer": _narrow},
            r"normalizer\(_narrow\) must be .*; given .* it raised",
        ),
        ({"transform": _narrow}, r"transform\(_narrow\) must be .*; given .* it raised RuntimeError"),
        ({"transform": lambda inputs: inputs[..., [9]]}, "it raised IndexError"),
        ({"subset": lambda query, key: (key @ key) > 0}, r"subset\(lambda\) must be .*; given .* it raised"),
    ],
)
def test_errors_inside_functions_name_the_part_and_the_shapes(parts, told):
    with pytest.raises(ShapeError, match=told):
        derive(**parts).attend(*torch.randn(3, 1, 2, 5, 4).unbind(0))
