"""Transforms one after the other: their order, their masks, and what is refused."""

import math

import pytest
import torch
from torch.testing import assert_close

from primaldual import (
    BatchNormalization,
    Chain,
    Convolution,
    Convolution2d,
    Identity,
    PrimalProblem,
    Window,
    preset,
)
from primaldual.errors import ArgumentError, SpecError, UnsupportedError


def row(*numbers):
    return torch.tensor(numbers, dtype=torch.float64).view(1, 1, -1, 1)


def weights_of(spec, query, keys, mask=None):
    """With the filter k_j + k_(j+1), and keys recentred by their mean."""
    problem = preset(spec).bind(1, 1).double()
    for part in problem.transform.steps():
        if isinstance(part, Convolution):
            part.weight.data.copy_(torch.tensor([0.0, 1.0, 1.0]))
    return problem.weights(query, keys, mask)[0, 0, 0]


def test_the_left_one_is_first():
    """Keys 1, 3: filtered 4, 3, mean 3.5; or recentred -1, 1, mean 2, filtered 0, 1."""
    first = weights_of("conv(3)+bn(scale=none)", row(4.5), row(1.0, 3.0))
    assert_close(first, torch.tensor([0.5, -0.5], dtype=torch.float64).softmax(0))
    second = weights_of("bn(scale=none)+conv(3)", row(4.5), row(1.0, 3.0))
    assert_close(second, torch.tensor([0.0, 2.5], dtype=torch.float64).softmax(0))


@pytest.mark.parametrize("spec", ["conv(3)+bn(scale=none)", "bn(scale=none)+conv(3)"])
def test_masked_keys_reach_no_later_transform(spec):
    mask = torch.tensor([True, True, False])
    found = weights_of(spec, row(4.5), row(1.0, 3.0, math.nan), mask)
    assert_close(found[:2], weights_of(spec, row(4.5), row(1.0, 3.0)))


@pytest.mark.parametrize(
    "spec", ["conv(3)+bn(beta=0.5)", "bn+conv(3,causal=true)", "linear+conv(3)+bn+conv2d(3)+sh(1,2)"]
)
def test_specs(spec):
    problem = preset(spec)
    assert isinstance(problem.transform, Chain)
    assert problem.spec() == spec
    assert preset("sh(1,2)+bn+linear+conv(3)").spec() == "linear+bn+conv(3)+sh(1,2)"


def test_filters_have_their_place_in_the_state():
    problem = preset("conv(3)+bn(learnable=true)").bind(2, 4)
    assert set(problem.state_dict()) == {"transform.transforms.0.weight", "transform.transforms.1.head_beta"}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "bn+conv(3)+bn(beta=0)",
            r"two parts for the transform: 'bn' and 'bn\(beta=0\)'; accepted is one of each kind",
        ),
        ("conv(3)+conv(5)", r"two parts for the transform: 'conv\(3\)' and 'conv\(5\)'"),
        ("linear+softmax", r"two parts for the feature_map: 'linear' and 'softmax'; accepted is one$"),
    ],
)
def test_no_choice_is_made_twice(spec, message):
    with pytest.raises(SpecError, match=message):
        preset(spec)


def test_bad_chains():
    with pytest.raises(ArgumentError, match="transforms must be Transforms; got Window"):
        Chain(Identity(), Window(3))
    with pytest.raises(ArgumentError, match="transforms must be one or more; got none"):
        Chain()
    with pytest.raises(
        UnsupportedError,
        match=r"conv\(3,queries=true\) mixes the queries and must come first; got it after bn",
    ):
        preset("bn+conv(3,queries=true)")


def test_a_chain_of_one_is_that_one():
    query, key, value = torch.randn(3, 1, 2, 9, 4, dtype=torch.float64).unbind(0)
    for transform in (BatchNormalization(), Convolution2d(3), Convolution(3, queries=True), Identity()):
        for is_causal in (False, True):
            assert_close(
                PrimalProblem(transform=Chain(transform)).attend(query, key, value, is_causal=is_causal),
                PrimalProblem(transform=transform).attend(query, key, value, is_causal=is_causal),
            )
