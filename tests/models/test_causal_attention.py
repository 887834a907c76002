import pytest
import torch
from tests.svr.helpers import dense_kernel
from torch.testing import assert_close

import primaldual as pdl
from primaldual.errors import ArgumentError, ShapeError, UnsupportedError
from primaldual.models.causal_attention import best_intercept


def sets(count=4, size=24, features=2, seed=0):
    torch.manual_seed(seed)
    covariates = torch.randn(count, size, features, dtype=torch.float64)
    return covariates, torch.rand(count, size, dtype=torch.float64) < covariates[..., 0].sigmoid()


def made(**options):
    torch.manual_seed(1)
    return pdl.CausalAttention(2, embed_dim=8, num_heads=2, feedforward_dim=8, **options).double()


@pytest.mark.parametrize("spec", ["softmax", "bn", "linear"])
def test_objective_and_gap_by_definition(spec):
    covariates, treatment = sets()
    with torch.no_grad():
        found = made(C=3.0, problem=spec)(covariates, treatment)
    assert float(found.imbalance.max()) < 1e-12
    assert (found.weights >= 0).all()
    assert (found.weights <= 1).all()
    for number in range(4):
        kernel = dense_kernel(spec, covariates[number])[0] / pdl.kernel_scale(spec, covariates[number])
        signs = torch.where(treatment[number], 1.0, -1.0).double()
        signed = signs * found.weights[number]
        decision = 3 * kernel @ signed
        corners = signs - decision
        loss = min(float((1 - signs * (decision + b)).clamp(min=0).sum()) for b in corners)
        norm = float(signed @ decision)
        assert_close(float(found.objective[number]), (norm / 2 + loss) / 24)
        dual = (float(found.weights[number].sum()) - norm / 2) / 24
        assert_close(float(found.gap[number]), float(found.objective[number]) - dual)
        exact = pdl.balancing_weights(covariates[number], treatment[number], 3.0, spec)
        assert float(found.objective[number]) > float(exact.objective)
        assert float(exact.objective) > dual


def test_exact_weights_have_no_gap(monkeypatch):
    covariates, treatment = sets()
    model = made(C=3.0)
    exact = pdl.balancing_weights(covariates.unsqueeze(1), treatment.unsqueeze(1), 3.0, tolerance=1e-9)
    monkeypatch.setattr(model, "_weights", lambda *given: exact.weights.squeeze(1))
    found = model(covariates, treatment)
    assert_close(found.objective, exact.objective.squeeze(1))
    assert float(found.gap.max()) < 1e-8


def test_gradients():
    covariates, treatment = sets(2, 8)
    model = made()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert torch.autograd.gradcheck(
        lambda *given: (
            torch.func.functional_call(
                model, dict(zip(dict(model.named_parameters()), given, strict=True)), (covariates, treatment)
            ).objective
        ),
        tuple(parameters),
        fast_mode=True,
    )


def test_padding_and_order_of_units():
    covariates, treatment = sets()
    model, order = made(), torch.randperm(24)
    wanted = model(covariates, treatment)
    found = model(covariates[:, order], treatment[:, order])
    assert_close(found.weights, wanted.weights[:, order])
    mask = torch.arange(30).expand(4, -1) < 24
    padded = torch.cat([covariates, torch.full((4, 6, 2), torch.nan, dtype=torch.float64)], 1)
    found = model(padded, torch.cat([treatment, treatment[:, :6]], 1), mask)
    assert_close(found.weights[:, :24], wanted.weights)
    assert_close(found.objective, wanted.objective)
    assert_close(found.gap, wanted.gap)
    found.objective.sum().backward()
    assert all(bool(parameter.grad.isfinite().all()) for parameter in model.parameters())


def test_training_lowers_the_gap_of_sets_not_seen():
    torch.manual_seed(0)
    model = pdl.CausalAttention(2, embed_dim=16, num_heads=2, num_layers=1, feedforward_dim=16)
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    unseen = [tensor.float() if tensor.is_floating_point() else tensor for tensor in sets(seed=99)]
    before = model(*unseen).gap.mean().item()
    for step in range(40):
        covariates, treatment = sets(8, seed=step)
        loss = model(covariates.float(), treatment).objective.mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert model(*unseen).gap.mean().item() < 0.85 * before


def test_best_intercept_is_the_least_of_all():
    torch.manual_seed(0)
    fitted, treatment = torch.randn(5, 9), torch.rand(5, 9) > 0.4
    treatment[:, 0], treatment[:, 1] = True, False
    units = torch.rand(5, 9) > 0.2
    units[:, :2] = True
    found = best_intercept(fitted, treatment, units)
    signs = torch.where(treatment, 1.0, -1.0)

    def loss(intercept):
        return ((1 - signs * (fitted + intercept.unsqueeze(-1))).clamp(min=0) * units).sum(-1)

    for intercept in torch.linspace(-4, 4, 101):
        assert (loss(found) <= loss(intercept.expand(5)) + 1e-5).all()


def test_bad_input():
    covariates, treatment = sets()
    model = made()
    with pytest.raises(ShapeError, match=r"covariates must be \(sets, N, 2\); got shape \(24, 2\)"):
        model(covariates[0], treatment[0])
    with pytest.raises(ShapeError, match=r"treatment must be \(4, 24\)"):
        model(covariates, treatment[:, 1:])
    with pytest.raises(ArgumentError, match="boolean"):
        model(covariates, treatment.double())
    with pytest.raises(ArgumentError, match="no control unit"):
        model(covariates, torch.ones_like(treatment))
    with pytest.raises(ArgumentError, match="covariates must be finite"):
        model(covariates.masked_fill(treatment.unsqueeze(-1), torch.inf), treatment)
    with pytest.raises(ArgumentError, match="C must be above 0 and finite; got 0"):
        pdl.CausalAttention(2, C=0)
    with pytest.raises(ArgumentError, match="features must be 1 or more; got 0"):
        pdl.CausalAttention(0)
    with pytest.raises(UnsupportedError, match="pools units"):
        made(problem="sh(2)")(covariates, treatment)


def test_weights_that_round_to_0_are_balanced():
    model = made()
    with torch.no_grad():
        model.score.bias.fill_(-1e4)
    found = model(*sets())
    assert (found.weights == 0).all()
    found.objective.mean().backward()
    assert all(one.grad.isfinite().all() for one in model.parameters() if one.grad is not None)
