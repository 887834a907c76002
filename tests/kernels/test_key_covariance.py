"""Systems of weighted covariances against covariances written out and torch's solver."""

import math

import pytest
import torch
from torch.testing import assert_close

from primaldual.errors import ArgumentError
from primaldual.kernels import key_covariance
from primaldual.kernels.key_covariance import Covariance, least_ridge, ridge_by_weight


def tensors(mean=0.0, deviation=1.0):
    generator = torch.Generator().manual_seed(0)
    key = mean + deviation * torch.randn(2, 30, 4, generator=generator, dtype=torch.float64)
    weights = torch.randn(2, 5, 30, generator=generator, dtype=torch.float64).softmax(-1)
    return key, weights, torch.randn(2, 5, 4, generator=generator, dtype=torch.float64)


def solution(key, weights, ridge, right):
    moved = key.unsqueeze(1) - (weights @ key).unsqueeze(2)
    covariance = torch.einsum("hij,hijc,hijd->hicd", weights, moved, moved)
    return torch.linalg.solve(covariance + ridge.unsqueeze(-1) * torch.eye(4), right)


@pytest.mark.parametrize("short", [torch.float64, torch.float32])
@pytest.mark.parametrize("mean", [0.0, 300.0])
def test_systems_are_solved_from_the_keys_themselves(mean, short):
    key, weights, right = tensors(mean)
    ridge = torch.full((2, 5, 1), 0.1, dtype=torch.float64)
    found = Covariance.of(key, weights, ridge, right, short).solve(right)
    tolerance = 1e-8 if mean or short == torch.float32 else 1e-11
    assert_close(found, solution(key, weights, ridge, right), rtol=tolerance, atol=tolerance)


def test_a_matrix_that_a_short_type_cannot_factor_is_factored_in_the_wider_one(monkeypatch):
    """Rows whose means lie far apart lose their covariance to the rounding of the common centre."""
    monkeypatch.setitem(key_covariance.SMALLEST_SHARE, torch.float32, 0.0)
    key, weights, right = tensors(deviation=1e-4)
    key[:, 15:] += 1e3
    weights = torch.zeros_like(weights)
    weights[:, 0, :15], weights[:, 1:, 15:] = 1 / 15, 1 / 15
    ridge = torch.full((2, 5, 1), 1e-9, dtype=torch.float64)
    found = Covariance.of(key, weights, ridge, right, torch.float32)
    assert found.factor.dtype == torch.float64
    exact = solution(key - key[:, 15:16], weights, ridge, right)[:, 1:]
    assert (found.solve(right)[:, 1:] - exact).norm() < 0.2 * exact.norm()


@pytest.mark.parametrize("share", [1e-9, 1e-6])
def test_the_least_ridge_is_a_share_of_the_distance_of_the_keys(share):
    key, weights, query = tensors()
    mean = weights @ key
    moved = key.unsqueeze(1) - mean.unsqueeze(2)
    covariance = torch.einsum("hij,hijc,hijd->hicd", weights, moved, moved)
    dtype = torch.float64 if share == 1e-9 else torch.float32
    distances = (key.unsqueeze(1) - query.unsqueeze(2)).square().sum(-1)
    assert_close(
        least_ridge(covariance, query - mean, dtype), share * (weights * distances).sum(-1, keepdim=True)
    )


def test_keys_that_are_not_finite_are_named():
    key, weights, right = tensors()
    ridge = torch.ones(2, 5, 1, dtype=torch.float64)
    with pytest.raises(
        ArgumentError, match=r"the covariance of keys with its ridge must be finite in torch\.float64"
    ):
        Covariance.of(torch.full_like(key, math.nan), weights, ridge, right, torch.float64)


def test_a_ridge_by_weight_stays_within_the_type():
    assert ridge_by_weight(0.0, torch.tensor([-1e38])).item() == 0
    assert ridge_by_weight(1e6, torch.tensor([-1e38])).item() == pytest.approx(1e30)
    assert ridge_by_weight(2.0, torch.tensor([math.log(4.0)])).item() == pytest.approx(0.5)
