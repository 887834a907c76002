"""Support vector regression as a solver, against scikit-learn's SVR, one feature and one query at a time."""

import pytest
import torch
from sklearn.svm import SVR
from torch.testing import assert_close

from primaldual import PrimalProblem, Sink, SupportVectors, preset, solve
from primaldual.errors import ArgumentError, ConvergenceError, SpecError, UnsupportedError
from primaldual.kernels.masks import causal_mask
from primaldual.kernels.support_vectors import interior_rows, rows

LENGTH, WIDTH = 7, 3
KERNELS = {"softmax": lambda x, y: (x @ y.mT / WIDTH**0.5).exp(), "dot": lambda x, y: x @ y.mT}


def tensors(length=LENGTH, heads=2):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(3, 1, heads, length, WIDTH, generator=generator, dtype=torch.float64).unbind(0)


def by_scikit_learn(kernel, query, key, value, allowed, penalty, epsilon, weights=None):
    """Every pair is there twice, with Phi and the target negated, each for half of C: so no intercept is needed.

    Its solutions for larger C are above the least objective by 1e-6 and more; ours were below them.
    """
    out = torch.zeros_like(query)
    for h, i, d in torch.cartesian_prod(*map(torch.arange, query.shape[1:])).tolist():
        keys = allowed.expand(LENGTH, LENGTH)[i].nonzero().flatten()
        seen, signs = key[0, h, keys], torch.tensor([1.0, -1.0]).double().repeat_interleave(len(keys))
        matrix = signs[:, None] * kernel(seen, seen).repeat(2, 2) * signs
        model = SVR(kernel="precomputed", C=penalty / 2, epsilon=epsilon, tol=1e-10)
        counts = None if weights is None else weights[h, i, keys].repeat(2).numpy()
        model.fit(matrix.numpy(), (value[0, h, keys, d].repeat(2) * signs).numpy(), sample_weight=counts)
        at = (kernel(query[0, h, i : i + 1], seen).repeat(1, 2) * signs)[0, model.support_]
        out[0, h, i, d] = at @ torch.from_numpy(model.dual_coef_[0])
    return out


@pytest.mark.parametrize("word", KERNELS)
@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize(("penalty", "epsilon"), [(0.3, 0.1), (2.0, 0.0)])
def test_it_equals_scikit_learn(word, is_causal, penalty, epsilon):
    inputs = tensors()
    allowed = causal_mask(LENGTH, LENGTH) if is_causal else torch.ones(1, 1).bool()
    wanted = by_scikit_learn(KERNELS[word], *inputs, allowed, penalty, epsilon)
    found = preset(f"{word}+svr({penalty},{epsilon})").attend(*inputs, is_causal=is_causal)
    assert_close(found, wanted, rtol=1e-6, atol=1e-6)


def test_pair_weights_are_weights_of_the_errors():
    inputs = tensors()
    distance = (torch.arange(LENGTH)[:, None] - torch.arange(LENGTH)).abs()
    weights = (-torch.tensor([0.5, 0.1]).double()[:, None, None] * distance).exp()
    allowed = causal_mask(LENGTH, LENGTH)
    wanted = by_scikit_learn(KERNELS["dot"], *inputs, allowed, 0.3, 0.1, weights)
    found = preset("dot+svr(0.3,0.1)+alibi(0.5,0.1)").attend(*inputs, is_causal=True)
    assert_close(found, wanted, rtol=1e-6, atol=1e-6)


def test_a_wide_tube_gives_zero():
    query, key, value = tensors()
    assert (preset("svr(1,100)").attend(query, key, value, is_causal=True) == 0).all()


def test_no_tube_and_a_large_penalty_interpolate_as_ridge_without_one():
    query, key, value = tensors()
    problem = preset("svr(1e5,0)")
    assert_close(problem.attend(key, key, value), value, rtol=1e-6, atol=1e-6)
    wanted = preset("ridge(0)").attend(query, key, value)
    assert_close(problem.attend(query, key, value), wanted, rtol=1e-6, atol=1e-6)


def test_a_small_penalty_gives_the_signs():
    query, key, value = tensors()
    wanted = 1e-4 * preset("dot+constant").attend(query, key, value.sign())
    assert_close(preset("dot+svr(1e-4,0)").attend(query, key, value), wanted)


def test_the_certificate_of_solve_is_that_of_the_layer():
    _, key, value = tensors(length=20)
    problem = preset("softmax+svr(0.5,0.2)")
    solution = solve(problem, key, value)
    assert solution.duality_gap <= 1e-6
    assert_close(solution.predict(key), problem.attend(key, key, value), rtol=1e-4, atol=1e-4)
    with pytest.raises(ArgumentError, match="C must be None for svr"):
        solve(problem, key, value, C=1.0)


def test_equal_pairs_share_their_coefficient():
    query, key, value = tensors()
    twice = [torch.cat([tensor, tensor], 2).requires_grad_() for tensor in (key, value)]
    once = preset("svr(2,0.1)").attend(query, key, value)
    found = preset("svr(1,0.1)").attend(query, *twice)
    assert_close(found, once, rtol=1e-7, atol=1e-7)
    for gradient in torch.autograd.grad(found.sum(), twice):
        assert gradient.isfinite().all()


@pytest.mark.parametrize(
    ("spec", "message"),
    [("svr(0)", "C must be a number above 0"), ("svr(1,-1)", "epsilon must be a number from 0")],
)
def test_bad_arguments(spec, message):
    with pytest.raises(SpecError, match=message):
        preset(spec)


def test_refusals(monkeypatch):
    query, key, value = tensors()
    problem = preset("svr(1,0.1)")
    with pytest.raises(UnsupportedError, match="has coefficients of its own for every feature of the values"):
        problem.attention_map(query, key)
    with pytest.raises(UnsupportedError, match="fits the kernel itself, with h = 1"):
        PrimalProblem(normalizer=Sink(), solver=SupportVectors())
    with pytest.raises(
        ArgumentError, match=r"kernel matrix of the keys must be finite in torch.float64; got"
    ):
        problem.attend(query, 1000 * key, value)
    monkeypatch.setattr(rows, "TOLERANCE", -1.0)
    with pytest.raises(
        ConvergenceError, match=r"stopped at the relative duality gap .* accepted is a smaller C"
    ):
        problem.attend(query, key, value)


def test_explain_says_that_it_is_slow():
    causal = str(preset("svr").explain((1, 2, 9, 4), is_causal=True))
    assert "slow: constant+svr(1,0.1) solves a system of the keys for every query" in causal
    assert "slow" not in str(preset("svr").explain((1, 2, 9, 4)))


def test_equation():
    text = preset("svr(2,0.3)").equation()
    assert "2 Σ_j |v_j − f(k_j)|_ε" in text
    assert "β = argmax over |β_j| ≤ 2 of −½ βᵀKβ + vᵀβ − 0.3 Σ_j |β_j|" in text
    assert r"\operatorname{arg}\max_{|\beta_j| \le 1}" in preset("svr").equation("latex")


def test_coefficients_close_to_a_bound_are_placed_on_the_right_side(monkeypatch):
    """A search that stops early leaves some in the wrong place; the coefficients that follow tell."""
    query, key, value = tensors(length=20)
    wanted = preset("dot+svr(1,0.1)").attend(query, key, value)
    monkeypatch.setattr(interior_rows, "ACCURACY", 1e-4)
    assert_close(preset("dot+svr(1,0.1)").attend(query, key, value), wanted)
    monkeypatch.setattr(rows, "REFINEMENTS", 0)
    with pytest.raises(ConvergenceError, match="stopped at the relative duality gap"):
        preset("dot+svr(1,0.1)").attend(query, key, value)
