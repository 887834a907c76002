import pytest
import torch

from primaldual.training.optimizers import OPTIMIZERS


@pytest.mark.parametrize("make", OPTIMIZERS.values())
def test_a_step_goes_downhill(make):
    weight = torch.nn.Parameter(torch.tensor([1.0]))
    optimizer = make([weight], 0.1, 0.0)
    for _ in range(20):
        optimizer.zero_grad()
        weight.square().sum().backward()
        optimizer.step()
    assert abs(weight.item()) < 1.0


@pytest.mark.parametrize("make", OPTIMIZERS.values())
def test_weight_decay_is_decoupled_from_the_gradient(make):
    weight = torch.nn.Parameter(torch.ones(2, 2))
    optimizer = make([weight], 0.1, 0.5)
    weight.grad = torch.zeros(2, 2)
    optimizer.step()
    assert weight[0, 0].item() == pytest.approx(1.0 - 0.1 * 0.5)


def test_vectors_do_not_decay_where_only_matrices_do():
    vectors = [torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(1, 1, 3))]
    optimizer = OPTIMIZERS["adamw_matrices"](vectors, 0.1, 0.5)
    for vector in vectors:
        vector.grad = torch.zeros_like(vector)
    optimizer.step()
    assert all(bool((vector == 1).all()) for vector in vectors)
