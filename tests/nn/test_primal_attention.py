import copy

import torch
from torch.testing import assert_close

import primaldual as pdl
from tests.nn.singular_reference import reference


def test_output_is_a_linear_map_of_both_projections():
    torch.manual_seed(0)
    layer = pdl.PrimalAttention(8, 2, rank=3).double()
    tokens = torch.randn(2, 9, 8, dtype=torch.float64)
    outputs, loss = layer(tokens)
    for number, sequence in enumerate(tokens):
        left, right, objective = reference(layer.projections, sequence)
        both = torch.cat([left[0], right[0], left[1], right[1]], 1)
        assert_close(outputs[number], both @ layer.out_proj.weight.T + layer.out_proj.bias)
        assert_close(loss.objective[number], objective)
    assert loss.divergence == 0


def test_gradients():
    torch.manual_seed(0)
    layer = pdl.PrimalAttention(4, 2, rank=2).double()
    tokens = torch.randn(2, 5, 4, dtype=torch.float64, requires_grad=True)
    valid = torch.tensor([[True] * 5, [True, True, True, False, False]])

    def run(tokens):
        outputs, loss = layer(tokens, key_padding_mask=~valid)
        return outputs, loss.objective

    assert torch.autograd.gradcheck(run, (tokens,))
    assert torch.autograd.gradgradcheck(run, (tokens,))


def test_training_on_the_objective_alone_finds_singular_vectors():
    """J^2 falls to 0, as the paper's loss asks for."""
    torch.manual_seed(0)
    layer = pdl.PrimalAttention(8, 2, rank=2)
    tokens = torch.randn(1, 12, 8)
    optimizer = torch.optim.Adam(layer.parameters(), 0.02)
    first = None
    for _ in range(60):
        loss = layer(tokens)[1].penalty(1.0)
        first = loss.item() if first is None else first
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 1e-3 * first


def test_copies_and_states():
    layer = pdl.PrimalAttention(8, 2, rank=2)
    tokens = torch.randn(1, 5, 8)
    other = pdl.PrimalAttention(8, 2, rank=2)
    other.load_state_dict(layer.state_dict())
    for twin in (other, copy.deepcopy(layer)):
        assert torch.equal(twin(tokens)[0], layer(tokens)[0])
    assert "rank=2" in repr(layer)
