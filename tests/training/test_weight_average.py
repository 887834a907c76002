import torch
from torch import nn

from primaldual.training.weight_average import WeightAverage


def test_buffers_are_averaged_or_copied_by_their_kind():
    norm = nn.BatchNorm1d(2)
    average = WeightAverage(norm, decay=0.5)
    norm.running_mean.fill_(4.0)
    norm.num_batches_tracked.fill_(3)
    average.update(step=100)
    assert average.tensors()["running_mean"].tolist() == [2.0, 2.0]
    assert average.tensors()["num_batches_tracked"] == 3


def test_the_first_steps_leave_the_initial_weights_quickly():
    weight = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(weight.weight)
    average = WeightAverage(weight, decay=0.999)
    nn.init.ones_(weight.weight)
    average.update(step=1)
    assert average.tensors()["weight"].item() == torch.tensor(1 - 2 / 11).item()


def test_an_error_inside_puts_the_weights_back():
    weight = nn.Linear(1, 1, bias=False)
    average = WeightAverage(weight, decay=0.5)
    before = weight.weight.clone()
    nn.init.ones_(weight.weight)
    try:
        with average.in_place():
            assert torch.equal(weight.weight, before)
            raise KeyError
    except KeyError:
        pass
    assert weight.weight.item() == 1
