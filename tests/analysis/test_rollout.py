import pytest
import torch

from primaldual.analysis.attention_maps import LayerMaps
from primaldual.analysis.rollout import attention_rollout
from primaldual.errors import ArgumentError


def maps(*weights):
    return [
        LayerMaps(f"layer{n}", one, torch.ones(one.shape[0], one.shape[-1])) for n, one in enumerate(weights)
    ]


def test_it_is_the_product_of_its_definition():
    weights = [torch.rand(2, 3, 5, 5, dtype=torch.float64) for _ in range(3)]
    found = attention_rollout(maps(*weights))
    for case in range(2):
        below = torch.eye(5, dtype=torch.float64)
        for layer, one in enumerate(weights):
            heads = []
            for head in range(3):
                rows = one[case, head] / one[case, head].sum(1)[:, None]
                heads.append(0.5 * (rows + torch.eye(5)) @ below)
                torch.testing.assert_close(found[layer][case, head], heads[-1])
            below = sum(heads) / 3
    torch.testing.assert_close(found[-1].sum(-1), torch.ones(2, 3, 5, dtype=torch.float64))


def test_a_token_that_attends_nothing_keeps_itself():
    [found] = attention_rollout(maps(torch.zeros(1, 1, 2, 2)))
    assert torch.equal(found[0, 0], torch.eye(2, dtype=torch.float64))


@pytest.mark.parametrize(
    "weights", [[], [torch.ones(1, 1, 2, 3)], [torch.ones(1, 1, 2, 2), torch.ones(1, 1, 3, 3)]]
)
def test_other_maps_are_refused(weights):
    with pytest.raises(ArgumentError, match="maps must be square and of one size"):
        attention_rollout(maps(*weights))
