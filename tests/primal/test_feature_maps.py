"""Softmax with another scale of its scores."""

import math
import pickle

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention
from torch.testing import assert_close

from primaldual import Exponential, MultiheadAttention, PrimalProblem, preset
from primaldual.errors import ArgumentError, SpecError, UnsupportedError
from primaldual.primal.presets import faithful_spec
from primaldual.testing import check_attention

SCALED = [
    "softmax(scale=2)+bn+sh(1,1,2,4)",
    "softmax(scale=0.3)+window(2)",
    "softmax(scale=0.3)+constant",
    "softmax(scale=0.3)",
    "softmax(scale=0.3)+conv(3)+bn(learnable=true)",
]


@pytest.mark.parametrize("level", ["quick", pytest.param("full", marks=pytest.mark.long)])
@pytest.mark.parametrize("spec", SCALED[:2])
def test_the_contract_holds(spec, level):
    check_attention(spec, level=level)


@pytest.mark.parametrize("scale", [0.3, 2, None])
@pytest.mark.parametrize("is_causal", [False, True])
def test_it_is_the_scale_of_torch(scale, is_causal):
    query, key, value = torch.randn(3, 2, 4, 9, 6, dtype=torch.float64).unbind(0)
    problem = PrimalProblem(Exponential(scale=scale))
    wanted = scaled_dot_product_attention(query, key, value, is_causal=is_causal, scale=scale)
    assert_close(problem.attend(query, key, value, is_causal=is_causal), wanted)
    assert_close(problem.dense(query, key, value, is_causal=is_causal), wanted)


@pytest.mark.parametrize("spec", SCALED)
def test_token_by_token(spec):
    layer = MultiheadAttention(24, 4, batch_first=True, attention=spec, dtype=torch.float64).eval()
    inputs = torch.randn(2, 7, 24, dtype=torch.float64)
    whole, maps = layer(inputs, inputs, inputs, is_causal=True)
    state = layer.init_state(2)
    outputs = torch.cat([layer.step(state, token) for token in inputs.split([3, 1, 1, 2], 1)], 1)
    assert_close(outputs, whole.detach(), rtol=1e-9, atol=1e-9)
    if "constant" not in spec:
        assert_close(maps.sum(-1), torch.ones(2, 7, dtype=torch.float64))


@pytest.mark.parametrize("spec", SCALED)
def test_specs_survive_the_round_trip(spec):
    problem = preset(spec)
    assert faithful_spec(problem) == problem.spec() == preset(problem.spec()).spec()
    assert problem.feature_map.scale == (2 if "=2" in spec else 0.3)
    assert pickle.loads(pickle.dumps(problem)).spec() == problem.spec()


def test_no_scale_is_no_part_of_the_spec():
    assert preset("softmax").spec() == PrimalProblem(Exponential(scale=None)).spec() == "softmax"
    assert PrimalProblem(Exponential(scale=1 / 3)).spec() == f"softmax(scale={1 / 3})"
    assert Exponential().score_scale(16) == 0.25
    assert Exponential(scale=3).score_scale(16) == 3


@pytest.mark.parametrize(
    ("scale", "text", "latex"),
    [
        (None, "Φ(x)·Φ(y) = exp(x·y / √D)", r"\exp\!\left(x^\top y/\sqrt{D}\right)"),
        (0.5, "Φ(x)·Φ(y) = exp(0.5 x·y)", r"\exp\!\left(0.5\,x^\top y\right)"),
    ],
)
def test_the_equation_says_it(scale, text, latex):
    problem = PrimalProblem(Exponential(scale=scale))
    assert text in problem.equation()
    assert latex in problem.equation("latex")


@pytest.mark.parametrize("scale", [0, -1, math.inf, math.nan, "0.5", True, torch.tensor(0.5)])
def test_bad_scales(scale):
    with pytest.raises(ArgumentError, match=r"scale must be a number above 0 and at most 1e\+06; got"):
        Exponential(scale=scale)


@pytest.mark.parametrize("word", ["0", "-1", "none", "true", "big", "2x2"])
def test_bad_scales_in_a_spec(word):
    with pytest.raises(
        SpecError,
        match=r"softmax: scale must be a number above 0 and at most 1e\+06; got .*; accepted is softmax\(",
    ):
        preset(f"softmax(scale={word})")


class Squared(Exponential):
    """Another kernel, which states nothing else."""

    name = "squared"

    def kernel(self, query, key):
        return (query @ key.transpose(-2, -1)).square()


def test_a_changed_kernel_loses_the_facts_of_the_former():
    part = Squared()
    assert part.score_scale(8) is None
    with pytest.raises(UnsupportedError, match="scale of 2 need the exponential kernel; got 'squared'"):
        part.rescaled(2.0)
    query, key, value = torch.randn(3, 1, 2, 5, 8, dtype=torch.float64).unbind(0)
    problem = PrimalProblem(feature_map=part)
    assert_close(problem.attend(query, key, value), problem.dense(query, key, value))


def test_rescaled_keeps_a_stated_factor():
    assert Exponential().rescaled(0.5).spec() == "softmax(scale=0.5)"
    assert Exponential(scale=2.0).rescaled(0.5).scale == 2.0
    with pytest.raises(ArgumentError, match="above 0"):
        Exponential().rescaled(0.0)
