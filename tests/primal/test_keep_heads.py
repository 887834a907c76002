"""A problem that forgets heads gives what it gave in the others."""

import copy

import pytest
import torch
from tests.contract_specs import RUNNING, SPECS
from torch.testing import assert_close

from primaldual import (
    BatchNormalization,
    Chain,
    Convolution2d,
    MaskedKeys,
    PooledHeads,
    PrimalProblem,
    preset,
)
from primaldual.testing.fed_problem import fed

HEADS, DIM, LENGTH = 4, 6, 12


def tensors():
    return torch.randn(
        3, 2, HEADS, LENGTH, DIM, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )


def problems():
    """Those that no spec names."""
    by_head = torch.rand(HEADS, LENGTH, LENGTH, generator=torch.Generator().manual_seed(1)) < 0.7
    return {
        "mask by head": PrimalProblem(subset=MaskedKeys(by_head)),
        "mask by batch and head": PrimalProblem(subset=MaskedKeys(by_head[None])),
        "mask for all": PrimalProblem(subset=MaskedKeys(by_head[0])),
        "mask for all, broadcast": PrimalProblem(subset=MaskedKeys(by_head[:1])),
        "grid": PrimalProblem(
            transform=Chain(Convolution2d(3), BatchNormalization(learnable=True)),
            subset=PooledHeads(1, 3, 2, 2, grid=(3, 4)),
        ),
    }


@pytest.mark.parametrize("name", [*SPECS, *problems()])
def test_the_others_give_what_they_gave(name):
    torch.manual_seed(0)
    problem = problems()[name] if name in problems() else fed(preset(name))
    problem = problem.bind(HEADS, DIM).double()
    query, key, value = tensors().unbind(0)
    problem.attend(query, key, value)
    with torch.no_grad():
        for parameter in problem.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    wanted = problem.eval().attend(query, key, value)
    for members in ([0, 2], [3], [2, 1, 3]):
        fewer = copy.deepcopy(problem)
        for part in fewer.parts():
            part.keep_heads(members, HEADS)
        found = fewer.attend(query[:, members], key[:, members], value[:, members])
        assert_close(found, wanted[:, members])
        assert all(len(parameter) == len(members) for parameter in fewer.parameters())
        if "mask" not in name:
            assert preset(fewer.spec()).bind(len(members), DIM).spec() == fewer.spec()
        if name in RUNNING:
            fewer.train().attend(query[:, members], key[:, members], value[:, members])
    assert torch.equal(problem.attend(query, key, value), wanted)
