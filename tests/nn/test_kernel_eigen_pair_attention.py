import pytest
import torch
from torch.distributions import MultivariateNormal, kl_divergence
from torch.testing import assert_close

import primaldual as pdl
from primaldual.errors import ArgumentError
from primaldual.nn.kernel_eigen_pair_attention import mean_probabilities


def made(seed=0):
    torch.manual_seed(seed)
    layer = pdl.KernelEigenPairAttention(6, 2, rank=2).double()
    torch.nn.init.normal_(layer.mean)
    torch.nn.init.normal_(layer.raw_factor)
    return layer


def test_draws_have_the_joint_covariance_that_the_formula_states():
    """Noise of its own for each token would leave the diagonal alone."""
    layer = made()
    features = torch.randn(1, 2, 4, 2, dtype=torch.float64)
    count = 40_000
    draws = layer.draw(features.expand(count, -1, -1, -1)).detach()
    for head in range(2):
        for output in range(3):
            sample = draws[:, head, :, output]
            factor = (features[0, head] @ layer.factor[head, output]).detach()
            covariance = factor @ factor.T
            size = covariance.diagonal().max()
            assert_close(sample.T.cov() / size, covariance / size, rtol=0, atol=0.03)
            mean = (features[0, head] @ layer.mean[head, output]).detach()
            assert_close(sample.mean(0), mean, rtol=0, atol=5 * float((size / count).sqrt()))
    apart = draws.flatten(2) - draws.flatten(2).mean(0)
    crossed = (apart[:, 0].T @ apart[:, 1] / count).abs().max() / apart.square().mean()
    assert crossed < 0.2, "heads draw their own noise"


def test_a_draw_is_linear_in_as_many_numbers_as_the_rank(monkeypatch):
    """Exactly: its Jacobian J in the noise has J J^T = v L L^T v^T."""
    layer = made()
    features = torch.randn(1, 2, 4, 2, dtype=torch.float64)
    drawn = {}

    def noise(*size, **kwargs):
        assert size == (1, 2, 3, 2)
        return drawn["noise"]

    monkeypatch.setattr(torch, "randn", noise)

    def run(numbers):
        drawn["noise"] = numbers
        return layer.draw(features)

    jacobian = torch.autograd.functional.jacobian(run, torch.zeros(1, 2, 3, 2, dtype=torch.float64))
    for head in range(2):
        for output in range(3):
            own = jacobian[0, head, :, output, 0]
            mine = own[:, head, output]
            factor = features[0, head] @ layer.factor[head, output]
            assert_close(mine @ mine.T, factor @ factor.T)
            assert_close(own.square().sum(), mine.square().sum())


def test_divergence_is_that_of_what_is_drawn():
    """Against torch.distributions, of the means and factors that :meth:`draw` uses, every slice of them."""
    layer = made()
    drawn = MultivariateNormal(layer.mean, scale_tril=layer.factor)
    prior = MultivariateNormal(torch.zeros(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64))
    wanted = kl_divergence(drawn, prior).sum()
    assert_close(layer.divergence(), wanted)
    parameters = [layer.mean, layer.raw_factor]
    for mine, theirs in zip(
        torch.autograd.grad(layer.divergence(), parameters),
        torch.autograd.grad(wanted, parameters),
        strict=True,
    ):
        assert_close(mine, theirs)
    outputs, loss = layer(torch.randn(1, 5, 6, dtype=torch.float64))
    assert_close(loss.divergence, wanted)
    torch.autograd.grad(outputs.sum(), layer.mean)


def test_factors_are_lower_triangular_with_a_positive_diagonal():
    layer = pdl.KernelEigenPairAttention(6, 2, rank=3, deviation=0.2)
    assert torch.equal(layer.factor, layer.factor.tril())
    assert_close(layer.factor, 0.2 * torch.eye(3).expand(2, 3, 3, 3))
    torch.nn.init.normal_(layer.raw_factor, std=5)
    assert (layer.factor.diagonal(dim1=-2, dim2=-1) > 0).all()


def test_tokens_with_the_same_features_get_the_same_draw():
    layer = made()
    one = torch.randn(1, 2, 1, 2, dtype=torch.float64)
    draw = layer.draw(one.expand(-1, -1, 5, -1))
    assert_close(draw, draw[:, :, :1].expand(-1, -1, 5, -1))
    assert not torch.equal(layer.draw(one), layer.draw(one))


def test_mean_probabilities():
    torch.manual_seed(0)
    calls = [torch.randn(2, 3) for _ in range(4)]
    queue = iter(calls)

    class Model(torch.nn.Module):
        def forward(self, given):
            return next(queue)

    found = mean_probabilities(Model(), torch.zeros(1), draws=4)
    assert_close(found, sum(logits.softmax(-1) for logits in calls) / 4)
    with pytest.raises(ArgumentError, match="draws must be 1 or more; got 0"):
        mean_probabilities(Model(), draws=0)


def test_deviations():
    for deviation in (1e-6, 800.0):
        layer = pdl.KernelEigenPairAttention(6, 2, rank=2, deviation=deviation)
        assert_close(layer.factor[0, 0, 0, 0], torch.tensor(deviation), rtol=1e-4, atol=0)
    for deviation in (0.0, float("nan"), float("inf")):
        with pytest.raises(ArgumentError, match="deviation must be above 0 and finite"):
            pdl.KernelEigenPairAttention(6, 2, rank=2, deviation=deviation)
