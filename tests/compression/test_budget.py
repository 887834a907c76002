import pytest
import torch
from torch import nn

from primaldual.compression.budget import cheapest, choose_scales, choose_within
from primaldual.compression.costs import Costs
from primaldual.compression.sensitivity import Sensitivity
from primaldual.errors import ArgumentError
from primaldual.integrations.finding import find_sites

LOSSES = torch.tensor([[0.0, 1.0], [0.0, 2.0], [0.0, 3.0], [0.0, 4.0]])


class Joined(Costs):
    """Heads of two scales cost a tenth of everything more than each kind by itself."""

    unit = "made-up costs"

    def __init__(self):
        self.shares = torch.tensor([[0.25, 0.05]]).expand(4, 2)

    def of(self, scales):
        own = [0.25 if scale == 1 else 0.05 for scale in scales["self_attn"]]
        return sum(own) + 0.1 * (len(set(own)) > 1)


@pytest.fixture
def sites():
    return find_sites(nn.TransformerEncoderLayer(8, 4, batch_first=True))


@pytest.fixture
def found():
    return Sensitivity(tuple((0, head) for head in range(4)), (1, 4), LOSSES, 1 / LOSSES.clamp(min=1))


def test_scales_have_the_least_loss_by_the_sum_of_costs(found, sites):
    assert choose_scales(found, sites, Joined(), 0.65) == {"self_attn": (4, 4, 1, 1)}


def test_scales_that_cost_more_together_are_chosen_anew(found, sites):
    scales, share = choose_within(found, sites, Joined(), 0.65)
    assert scales == {"self_attn": (4, 4, 4, 1)}
    assert share == pytest.approx(0.5)


def test_a_budget_that_nothing_keeps_is_refused(found, sites):
    assert cheapest(Joined()) == pytest.approx(0.2)
    for budget in (0.15, 0.01):
        with pytest.raises(ArgumentError, match=r"takes 0\.2 of the original's made-up costs; got"):
            choose_within(found, sites, Joined(), budget)
