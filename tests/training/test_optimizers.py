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
    weight = torch.nn.Parameter(torch.tensor([1.0]))
    optimizer = make([weight], 0.1, 0.5)
    weight.grad = torch.zeros(1)
    optimizer.step()
    assert weight.item() == pytest.approx(1.0 - 0.1 * 0.5)
