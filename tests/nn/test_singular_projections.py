from copy import deepcopy

import numpy as np
import pytest
import torch
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode

from primaldual.errors import ArgumentError, ShapeError
from primaldual.nn.singular_projections import SingularProjections, running_mean, unit_length
from tests.nn.singular_reference import reference


def made(rank=2, seed=0, embed_dim=8):
    torch.manual_seed(seed)
    projections = SingularProjections(embed_dim, 2, rank, dtype=torch.float64)
    for parameter in projections.parameters():
        torch.nn.init.normal_(parameter)
    return projections


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("length", [2, 7, 27])
def test_outputs_and_gradients_by_definition(length, is_causal):
    """27 tokens are more than the 20 of which the projections are made."""
    projections = made()
    tokens = torch.randn(1, length, 8, dtype=torch.float64, requires_grad=True)
    found = projections(tokens, None, is_causal)
    left, right, objective = reference(projections, tokens[0], is_causal)
    assert_close(found.left[0], left)
    assert_close(found.right[0], right)
    assert_close(found.objective[0], objective)
    weights = [torch.randn_like(tensor) for tensor in (left, right, objective)]
    wanted = [tokens, *projections.parameters()]
    totals = [
        sum((weight * tensor).sum() for weight, tensor in zip(weights, tensors, strict=True))
        for tensors in ((found.left[0], found.right[0], found.objective[0]), (left, right, objective))
    ]
    for mine, theirs in zip(*(torch.autograd.grad(total, wanted) for total in totals), strict=True):
        assert_close(mine, theirs)


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("size", [3, 13, 26])
def test_padding_between_and_after_tokens_changes_nothing(size, is_causal):
    projections = made()
    tokens = torch.randn(1, size, 8, dtype=torch.float64)
    valid = torch.zeros(1, 30, dtype=torch.bool)
    valid[0, torch.randperm(30)[:size]] = True
    padded = torch.zeros(1, 30, 8, dtype=torch.float64)
    padded[valid] = tokens[0]
    alone, found = projections(tokens, None, is_causal), projections(padded, valid, is_causal)
    assert_close(found.left[:, :, valid[0]], alone.left)
    assert_close(found.right[:, :, valid[0]], alone.right)
    assert_close(found.objective, alone.objective)
    assert (found.left[:, :, ~valid[0]] == 0).all()


def test_a_sequence_of_padding_alone_is_zero():
    found = made()(torch.zeros(1, 4, 8, dtype=torch.float64), torch.zeros(1, 4, dtype=torch.bool))
    assert (found.left == 0).all()
    assert (found.objective == 0).all()


@pytest.mark.parametrize("factor", [0.3, 5.0])
def test_at_singular_vectors_the_objective_is_zero_and_stationary(factor):
    """Numpy's decomposition of K_ij = (X' phi(q_i)) . (X' phi(k_j)); any factor of W will do."""
    projections = made()
    tokens = 9 * torch.randn(1, 20, 8, dtype=torch.float64)
    with torch.no_grad():
        for head, own in enumerate((slice(0, 4), slice(4, 8))):
            sampled = tokens[0, :, own].numpy()
            query, key = (
                (tokens[0] @ linear.weight[own].T + linear.bias[own]).numpy()
                for linear in (projections.q_proj, projections.k_proj)
            )
            left, right = (
                inputs / np.linalg.norm(inputs, axis=1, keepdims=True) @ sampled.T for inputs in (query, key)
            )
            vectors, values, others = np.linalg.svd(left @ right.T)
            projections.left[head] = torch.from_numpy(factor * right.T @ others[:2].T)
            projections.right[head] = torch.from_numpy(factor * left.T @ vectors[:, :2])
            scales = torch.from_numpy(np.sqrt(20 / values[:2]))
            assert (scales < 1).all()
            projections.scale_logits[head] = torch.logit(scales)
    found = projections(tokens)
    trace = float((projections.left * projections.right).detach().sum((1, 2)).abs().max())
    assert float(found.objective.detach().abs().max()) <= 1e-12 * trace
    for parameter in (projections.left, projections.right):
        gradient = torch.autograd.grad(found.objective.sum(), parameter, retain_graph=True)[0]
        assert float(gradient.abs().max()) <= 1e-10 * float(parameter.detach().abs().max())
    # The projections are the left singular vectors, up to their lengths: those of the last head are at hand.
    directions = found.left[0, 1] / found.left[0, 1].norm(dim=0)
    assert_close(directions.abs(), torch.from_numpy(vectors[:, :2]).abs(), rtol=1e-8, atol=1e-10)


def test_the_future_changes_nothing_in_the_past():
    projections = made()
    tokens = torch.randn(1, 30, 8, dtype=torch.float64)
    changed = tokens.clone()
    changed[:, 11:] = 1e6 * torch.randn(1, 19, 8, dtype=torch.float64)
    first, second = (projections(given, None, True) for given in (tokens, changed))
    assert torch.equal(first.left[:, :, :11], second.left[:, :, :11])
    assert torch.equal(first.right[:, :, :11], second.right[:, :, :11])


@pytest.mark.parametrize("is_causal", [False, True])
def test_cost_is_linear_in_the_length(is_causal):
    projections = made()
    counts = []
    for length in (100, 200):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            projections(torch.randn(1, length, 8, dtype=torch.float64), None, is_causal)
        counts.append(counter.get_total_flops())
    assert counts[1] <= 2 * counts[0]


def test_zero_has_no_direction_and_no_gradient():
    inputs = torch.tensor([[0.0, 0.0], [1e-15, 0.0]], requires_grad=True)
    outputs = unit_length(inputs)
    assert outputs[0].tolist() == [0, 0]
    assert_close(outputs[1], torch.tensor([1.0, 0.0]))
    outputs[0].sum().backward()
    assert inputs.grad.tolist() == [[0, 0], [0, 0]]


def test_running_mean_leaves_padding_out():
    inputs = torch.tensor([1.0, torch.nan, 3.0]).view(1, 1, 3, 1)
    found = running_mean(inputs, torch.tensor([[True, False, True]]))
    assert found.flatten().tolist() == [1, 1, 2]


def test_running_mean_adds_up_in_single_precision():
    inputs = torch.full((1, 1, 3000, 1), 1.0, dtype=torch.bfloat16)
    assert running_mean(inputs, None)[0, 0, -1].item() == 1
    assert running_mean(inputs, torch.ones(1, 3000, dtype=torch.bool))[0, 0, -1].item() == 1


def test_sizes_that_do_not_fit():
    with pytest.raises(ArgumentError, match="num_heads must divide embed_dim; got embed_dim 9"):
        SingularProjections(9, 2, 2)
    for rank in (0, 5):
        with pytest.raises(ArgumentError, match=f"rank must be from 1 to .* = 4.*; got {rank}"):
            SingularProjections(8, 2, rank)
    with pytest.raises(ShapeError, match="as many as the rank, 2, or more; got 1"):
        SingularProjections(8, 2, 2)(torch.randn(1, 1, 8))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_has_orthonormal_weights_and_a_finite_objective(dtype):
    torch.manual_seed(0)
    half = SingularProjections(8, 2, rank=3, dtype=dtype)
    assert_close(half.left.mT.float() @ half.left.float(), torch.eye(3).expand(2, 3, 3), atol=0.02, rtol=0)
    tokens = 50 * torch.randn(2, 300, 8, dtype=dtype)
    with torch.no_grad():
        found, wanted = half(tokens).objective, deepcopy(half).double()(tokens.double()).objective
    assert_close(found.double(), wanted, atol=0, rtol=0.05)
