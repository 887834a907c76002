"""Balancing weights against the quadratic program as it is written, by an independent solver."""

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from torch.testing import assert_close

import primaldual as pdl
from primaldual.errors import ArgumentError, ShapeError
from tests.svr.helpers import dense_kernel
from tests.svr.test_hinge import quadratic_program


def units(count=40, seed=0, features=3):
    generator = torch.Generator().manual_seed(seed)
    covariates = torch.randn(count, features, generator=generator, dtype=torch.float64)
    chance = (1.5 * covariates[:, 0]).sigmoid()
    return covariates, torch.rand(count, generator=generator, dtype=torch.float64) < chance


@pytest.mark.parametrize("spec", ["softmax", "bn"])
@pytest.mark.parametrize("C", [0.3, 10.0])
def test_the_exact_program_and_its_optimality_conditions(spec, C):
    """min a'Qa C/2s - 1'a, 0 <= a <= 1, w'a = 0, with Q = w w' o K."""
    covariates, treatment = units()
    found = pdl.balancing_weights(covariates, treatment, C, spec, tolerance=1e-12)
    kernel = dense_kernel(spec, covariates)[0] / pdl.kernel_scale(spec, covariates)
    labels = torch.where(treatment, 1.0, -1.0).double()
    wanted = torch.from_numpy(quadratic_program((C * kernel).numpy(), labels.numpy(), np.ones(40), True))
    assert_close(found.weights, wanted, rtol=0, atol=1e-5)
    assert float(found.imbalance) < 1e-10
    assert float(found.gap) <= 1e-12 * float(found.objective)
    gradient = C * labels * (kernel @ (labels * found.weights)) - 1
    inside = (found.weights > 1e-6) & (found.weights < 1 - 1e-6)
    assert inside.sum() >= 2
    multiplier = float((labels * gradient)[inside].mean())
    residual = gradient - multiplier * labels
    size = float(gradient.abs().max())
    assert float(residual[inside].abs().max()) < 1e-4 * size
    assert (residual[found.weights <= 1e-6] > -1e-4 * size).all()
    assert (residual[found.weights >= 1 - 1e-6] < 1e-4 * size).all()


def test_objective_is_that_of_the_classifier_per_unit():
    covariates, treatment = units()
    found = pdl.balancing_weights(covariates, treatment, 2.0)
    scale = pdl.kernel_scale("bn", covariates)
    labels = torch.where(treatment, 1.0, -1.0).double().unsqueeze(-1)
    solution = pdl.solve("bn", covariates, labels, 2.0 / scale, loss="hinge")
    assert_close(found.objective, solution.primal_objective[0] * scale / 2.0 / 40)


def test_a_set_in_a_batch_with_padding_is_the_set_alone():
    covariates, treatment = units()
    both = torch.stack([covariates, covariates.flip(0)]).unsqueeze(1)
    mask = (torch.arange(40) < torch.tensor([[40], [30]])).unsqueeze(1)
    chosen = torch.stack([treatment, treatment.flip(0)]).unsqueeze(1)
    both[1, :, 30:] = torch.nan
    found = pdl.balancing_weights(both, chosen, 3.0, mask=mask, tolerance=1e-10)
    alone = pdl.balancing_weights(covariates.flip(0)[:30], treatment.flip(0)[:30], 3.0, tolerance=1e-10)
    assert_close(found.weights[1, 0, :30], alone.weights, rtol=0, atol=1e-4)
    assert (found.weights[1, 0, 30:] == 0).all()
    assert_close(found.objective[1, 0], alone.objective)
    outcomes = torch.full((2, 1, 40), torch.nan, dtype=torch.float64)
    outcomes[0] = covariates[:, 0]
    outcomes[1, 0, :30] = covariates.flip(0)[:30, 0]
    assert_close(found.effect(outcomes)[1, 0], alone.effect(covariates.flip(0)[:30, 0]), rtol=0, atol=1e-3)


def test_the_effect_of_balanced_arms_is_exact_for_a_linear_outcome():
    """Where both arms can be balanced exactly, large C does it: linear kernel, outcomes linear in the covariates."""
    covariates, treatment = units(60, features=2)
    problem = pdl.derive(lambda x: x, normalizer="constant")
    found = pdl.balancing_weights(covariates, treatment, 1e5, problem)
    outcomes = covariates @ torch.tensor([2.0, -1.0], dtype=torch.float64) + 0.7 * treatment
    naive = float(outcomes[treatment].mean() - outcomes[~treatment].mean())
    assert abs(naive - 0.7) > 1
    assert abs(float(found.effect(outcomes)) - 0.7) < 1e-2
    signs = torch.where(treatment, 1.0, -1.0).double().numpy()
    equal = np.vstack([signs, (signs[:, None] * covariates.numpy()).T])
    most = -linprog(-np.ones(60), A_eq=equal, b_eq=np.zeros(3), bounds=(0, 1)).fun
    assert_close(float(found.weights.sum()), most, rtol=1e-2, atol=0)


def test_bad_input():
    covariates, treatment = units()
    with pytest.raises(ShapeError, match=r"treatment must be \(40,\); got \(39,\)"):
        pdl.balancing_weights(covariates, treatment[1:])
    with pytest.raises(ArgumentError, match=r"treatment must be boolean, .*; got dtype torch.float32"):
        pdl.balancing_weights(covariates, treatment.float())
    with pytest.raises(ArgumentError, match="got no treated unit"):
        pdl.balancing_weights(covariates, torch.zeros(40, dtype=torch.bool))
    with pytest.raises(ArgumentError, match="got no control unit"):
        pdl.balancing_weights(covariates, treatment, mask=treatment)
    with pytest.raises(ArgumentError, match="C must be above 0"):
        pdl.balancing_weights(covariates, treatment, C=-1.0)
    found = pdl.balancing_weights(covariates, treatment)
    with pytest.raises(ShapeError, match=r"outcomes must be \(40,\); got \(40, 3\)"):
        found.effect(covariates)
    with pytest.raises(ArgumentError, match="outcomes must be finite"):
        found.effect(torch.full((40,), torch.nan))
    empty = pdl.BalancingWeights(found.weights * treatment, treatment, found.objective, found.gap)
    with pytest.raises(ArgumentError, match="an arm of zeros"):
        empty.effect(covariates[:, 0])


@pytest.mark.parametrize(
    ("mask", "error"), [(torch.ones(4), ArgumentError), (torch.ones(3, dtype=torch.bool), ShapeError)]
)
def test_masks_are_checked_before_they_are_used(mask, error):
    treatment = torch.tensor([True, False, True, False])
    with pytest.raises(error, match="mask must be"):
        pdl.balancing_weights(torch.randn(4, 2).double(), treatment, mask=mask)
    with pytest.raises(error, match="mask must be"):
        pdl.CausalAttention(2)(torch.randn(1, 4, 2), treatment[None], mask[None])
