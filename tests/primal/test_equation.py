"""Equations name every part."""

import pytest

from primaldual import FeatureMap, Order, PairWeights, PrimalProblem, Subset, Transform, preset
from primaldual.errors import ArgumentError
from primaldual.primal.normalizers import Normalizer


@pytest.mark.parametrize("style", ["text", "latex"])
def test_equation_shows_each_choice(style):
    shown = preset("linear+bn(beta=0.8)+sh(1,2)").equation(style)
    for piece in ("elu", "0.8", "1, 2"):
        assert piece in shown
    assert "exp" not in shown


def test_constant_and_window_are_said():
    shown = preset("constant+window(7)").equation()
    assert "h(x) = 1" in shown
    assert "≤ 7" in shown


def test_unknown_style():
    with pytest.raises(ArgumentError, match='style must be "text" or "latex"; got \'html\''):
        preset("softmax").equation("html")


@pytest.mark.parametrize(
    ("spec", "text", "latex"),
    [
        ("softmax", "T(x) = x\n", r"T(x) = x \\"),
        ("bn(beta=0)", "T(x) = x / √(σ² + 1e-05)", r"T(x) = x\big/\sqrt{\sigma^2 + 10^{-5}}"),
        ("bn(beta=-0.5)", "T(x) = (x + 0.5 μ) / √", r"T(x) = (x + 0.5\mu)\big/"),
        ("bn(scale=none)", "T(x) = x − μ\n         μ = mean_j k_j\n", r"\mu = \tfrac1N\sum_j k_j \\"),
        ("bn(eps=0.00015)", "σ² + 0.00015", r"\sigma^2 + 1.5\cdot 10^{-4}"),
    ],
)
def test_what_is_said_of_the_transform_is_what_it_does(spec, text, latex):
    assert text in preset(spec).equation()
    assert latex in preset(spec).equation("latex")


@pytest.mark.parametrize(
    ("name", "base", "line"),
    [
        ("feature_map", FeatureMap, "Φ(x)·Φ(y) = Own(x, y)"),
        ("normalizer", Normalizer, "h(x) = Own"),
        ("transform", Transform, "T(x) = Own(x)"),
    ],
)
def test_a_part_of_your_own_is_named(name, base, line):
    problem = PrimalProblem(**{name: type("Own", (base,), {})()})
    assert line in problem.equation()
    assert "Own" in problem.equation("latex")
    assert problem.spec() == "Own"


@pytest.mark.parametrize("style", ["text", "latex"])
@pytest.mark.parametrize(
    ("name", "base"), [("pair_weights", PairWeights), ("order", Order), ("subset", Subset)]
)
def test_parts_that_state_no_formula_are_named(name, base, style):
    word = name.replace("_", " ")
    assert f"{word}: Own" in PrimalProblem(**{name: type("Own", (base,), {})()}).equation(style)
    assert f"{word}: " not in PrimalProblem().equation(style)


@pytest.mark.parametrize(
    ("spec", "formula"), [("lla(2)", "‖v_j − b − W (k_j − x)‖² + 2 ‖W‖²"), ("parallax", "Cov(v, k)")]
)
def test_orders_are_said(spec, formula):
    assert formula in preset(spec).equation()


@pytest.mark.parametrize("spec", ["boost(2)", "scaled(0.3)", "cosine+delta(0.5)"])
def test_the_coefficients_are_said_once(spec):
    problem = preset(spec)
    assert problem.equation().count(problem.solver.formula("text")[-1]) == 1
