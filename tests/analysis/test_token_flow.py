"""Mean-field dynamics of tokens: its invariants, and the definition by loops."""

import numpy as np
import pytest
import torch
from examples import token_flow as example
from torch.testing import assert_close

from primaldual.analysis.token_flow import TokenFlow, energy, token_flow, velocity
from primaldual.errors import ArgumentError, ShapeError


def drawn(tokens=8, features=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    places = torch.randn(tokens, features, generator=generator, dtype=torch.float64)
    matrix = torch.randn(features, features, generator=generator, dtype=torch.float64)
    return torch.nn.functional.normalize(places, dim=1), matrix


def symmetric(matrix):
    return (matrix + matrix.T) / 2


def test_velocity_and_energy_are_those_of_loops():
    tokens, matrix = drawn()
    x, d = tokens.numpy(), matrix.numpy()
    total = 0.0
    for i in range(len(x)):
        kernel = np.array([np.exp(x[i] @ d @ x[j]) for j in range(len(x))])
        mixed = sum(kernel[j] / kernel.sum() * (d @ x[j]) for j in range(len(x)))
        assert_close(velocity(tokens, matrix)[i], torch.from_numpy(mixed - (mixed @ x[i]) * x[i]))
        total += kernel.sum() / 2
    assert_close(float(energy(tokens, matrix)), total)


def test_for_symmetric_matrices_the_velocity_climbs_the_energy():
    tokens, matrix = drawn()
    matrix = symmetric(matrix)
    leaf = tokens.clone().requires_grad_()
    (slope,) = torch.autograd.grad(energy(leaf, matrix), leaf)
    uphill = slope - (slope * tokens).sum(1, keepdim=True) * tokens
    h = (tokens @ matrix @ tokens.T).exp().sum(1, keepdim=True)
    assert_close(velocity(tokens, matrix), uphill / h)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_tokens_stay_on_the_sphere_and_energy_is_monotone(sign):
    tokens, matrix = drawn(seed=1)
    flow = token_flow(tokens, symmetric(matrix), sign=sign, time=5, steps=100)
    assert_close(flow.tokens.norm(dim=2), torch.ones(101, 8, dtype=torch.float64))
    assert (sign * flow.energies.diff() > -1e-10).all()
    assert flow.energies[-1] != flow.energies[0]


def test_a_positive_definite_matrix_gathers_tokens_at_its_top_eigenvector():
    tokens, matrix = drawn(seed=2)
    matrix = matrix @ matrix.T + torch.eye(4)
    top = torch.linalg.eigh(matrix).eigenvectors[:, -1]
    tokens = tokens * (tokens @ top).sign().unsqueeze(1)  # all in one half
    flow = token_flow(tokens, matrix, time=40, steps=400)
    assert flow.clusters().unique().tolist() == [0]
    assert ((flow.tokens[-1] @ top).abs() > 1 - 1e-6).all()


def test_the_reversed_flow_disperses():
    tokens, _ = drawn(seed=3)
    flow = token_flow(tokens, torch.eye(4), sign=-1, time=60, steps=300)
    assert flow.tokens[-1].mean(0).norm() < 1e-3 < flow.tokens[0].mean(0).norm()
    assert len(flow.clusters().unique()) == 8


def test_for_multiples_of_the_identity_the_flow_turns_with_the_tokens():
    tokens, matrix = drawn(seed=4)
    turn = torch.linalg.qr(matrix).Q
    plain, turned = (token_flow(each, 2 * torch.eye(4), time=2, steps=40) for each in (tokens, tokens @ turn))
    assert_close(turned.tokens, plain.tokens @ turn)
    assert_close(turned.energies, plain.energies)


def test_halving_the_steps_changes_little():
    tokens, matrix = drawn(seed=5)
    coarse, fine = (token_flow(tokens, matrix, time=2, steps=steps).tokens[-1] for steps in (20, 40))
    finer = token_flow(tokens, matrix, time=2, steps=80).tokens[-1]
    assert (fine - finer).norm() < (coarse - fine).norm() / 8


def test_clusters_are_joined_by_chains():
    angles = torch.tensor([0.0, 0.1, 0.2, 0.3, 2.0, 2.05], dtype=torch.float64)
    place = torch.stack([angles.cos(), angles.sin()], 1)
    flow = TokenFlow(torch.zeros(1), place[None], torch.zeros(1))
    assert flow.clusters(cosine=0.994).tolist() == [0, 0, 0, 0, 1, 1]
    assert len(flow.clusters(cosine=1.0).unique()) == 6
    with pytest.raises(ArgumentError, match="cosine"):
        flow.clusters(cosine=2)


@pytest.mark.parametrize(
    ("tokens", "matrix", "options", "error", "words"),
    [
        (torch.ones(3, 2), torch.eye(3), {}, ShapeError, "shapes"),
        (torch.zeros(3, 2), torch.eye(2), {}, ArgumentError, "no token 0"),
        (torch.ones(3, 2), torch.eye(2) * torch.nan, {}, ArgumentError, "finite"),
        (torch.ones(3, 2), torch.eye(2), {"steps": 0}, ArgumentError, "steps"),
    ],
)
def test_bad_input_is_named(tokens, matrix, options, error, words):
    with pytest.raises(error, match=words):
        token_flow(tokens, matrix, **options)


def test_the_example_draws_its_flows(tmp_path, capsys):
    example.main(["--tokens", "5", "--time", "1", "--out", str(tmp_path / "flow.svg")])
    assert capsys.readouterr().out.count("clusters") == 3
    assert (tmp_path / "flow.svg").read_text().startswith("<svg")
    with pytest.raises(SystemExit):
        example.main(["--tokens", "0"])
