"""Every sensible combination of parts keeps the contract."""

import re

import pytest
import torch
from tests.contract_specs import RUNNING, SPECS

from primaldual.primal.batch_normalization import BatchNormalization
from primaldual.primal.chain import Chain
from primaldual.primal.convolutions import Convolution2d
from primaldual.primal.feature_maps import EluPlusOne
from primaldual.primal.pooled_heads import PooledHeads
from primaldual.primal.presets import preset
from primaldual.primal.problem import PrimalProblem
from primaldual.primal.subsets import MaskedKeys
from primaldual.testing import CHECKS
from primaldual.testing.inputs import prepared, tensors
from primaldual.testing.modules import check_compile, check_export

SLOW = (check_compile, check_export)
"""Checks that take as long as all others together run on every other attention: each word still meets them."""


def pairs(names):
    """Every name with every check, the slow ones with every other name."""
    return [
        pytest.param(name, check, id=f"{name}-{check.__name__}")
        for number, name in enumerate(names)
        for check in CHECKS
        if check not in SLOW or number % 2 == 0
    ]


@pytest.mark.parametrize(("spec", "check"), pairs(SPECS))
def test_preset_keeps_contract(spec, check):
    check(prepared(preset(spec), 4, 6), 4, 6, 13, False)


@pytest.mark.parametrize(("spec", "check"), pairs(RUNNING))
def test_running_statistics_keep_contract_in_evaluation(spec, check):
    problem = prepared(preset(spec), 4, 6)
    for seed in range(3):
        problem.attend(*tensors(4, 6, 9, seed=seed))
    check(problem.eval(), 4, 6, 13, False)


def fixed_size_problems():
    mask = torch.rand(12, 12, generator=torch.Generator().manual_seed(0)) > 0.3
    grid = PooledHeads(1, 2, 3, 2, grid=(3, 4))
    classed = PooledHeads(1, 2, 2, 4, grid=(3, 3), prefix=3)
    return {
        "masked": PrimalProblem(subset=MaskedKeys(mask)),
        "bn+masked": PrimalProblem(transform=BatchNormalization(), subset=MaskedKeys(mask)),
        "grid": PrimalProblem(subset=grid),
        "bn+grid": PrimalProblem(transform=BatchNormalization(beta=0.6), subset=classed),
        "conv2d+masked": PrimalProblem(transform=Convolution2d(3, grid=(3, 4)), subset=MaskedKeys(mask)),
        "conv2d, prefix": PrimalProblem(transform=Convolution2d(3, prefix=3)),
        "conv2d+bn+grid": PrimalProblem(
            transform=Chain(Convolution2d(3), BatchNormalization()), subset=classed
        ),
        "linear+bn+conv2d+grid": PrimalProblem(
            EluPlusOne(), transform=Chain(BatchNormalization(), Convolution2d(3)), subset=grid
        ),
        "conv2d with queries, grid": PrimalProblem(transform=Convolution2d(3, queries=True), subset=classed),
    }


def test_slow_checks_meet_every_word_of_a_spec():
    words = set(re.findall(r"[a-z]+", " ".join(re.sub(r"\(.*?\)", "", spec) for spec in SPECS)))
    met = {spec for spec, check in (given.values for given in pairs(SPECS)) if check is check_compile}
    assert words == set(re.findall(r"[a-z]+", " ".join(re.sub(r"\(.*?\)", "", spec) for spec in met)))


@pytest.mark.parametrize(("name", "check"), pairs(fixed_size_problems()))
def test_fixed_size_keeps_contract(name, check):
    check(prepared(fixed_size_problems()[name], 4, 6), 4, 6, 12, True)
