"""Every sensible combination of parts keeps the contract."""

import pytest
import torch
from tests.contract_specs import EVERY_WORD, FIXED, FIXED_LENGTH, HEAD_DIM, HEADS, RUNNING, SPECS, words

from primaldual.primal.batch_normalization import BatchNormalization
from primaldual.primal.chain import Chain
from primaldual.primal.convolutions import Convolution2d
from primaldual.primal.feature_maps import EluPlusOne
from primaldual.primal.patterns import MaskedKeys
from primaldual.primal.pooled_heads import PooledHeads
from primaldual.primal.presets import preset
from primaldual.primal.problem import PrimalProblem
from primaldual.primal.words import PARTS
from primaldual.testing import CHECKS
from primaldual.testing.decoding import check_decoding
from primaldual.testing.functional import check_second_derivatives, check_torch_func, check_tracing
from primaldual.testing.inputs import prepared, tensors
from primaldual.testing.modules import check_compile, check_export
from primaldual.testing.outputs import check_dense
from primaldual.testing.precision import check_rounding

EVERY = {
    check_compile: None,
    check_decoding: None,  # decoding/test_step.py takes all of them
    check_export: None,
    check_rounding: 3,
    check_second_derivatives: 3,
    check_torch_func: 3,
    check_tracing: 3,
}
"""Checks that take longest run on a few attentions that hold every word, and on every third other one where 3 stands."""

QUICK = {check: 3 if check is check_dense else 8 for check in (*EVERY, *CHECKS)} | {check_compile: 16}
"""Of how many attentions one is in the quick suite, beside those of ALWAYS for checks that do not take longest."""

SLOW = {"dot+constant+svr(1,0.1)"}
"""Each of their calls solves programs, so that checks of many calls are long."""

ALWAYS = {*EVERY_WORD, "bn", "bn+sh(1,1,2,4)"}


def pairs(names, always):
    """Every check with the names that are due it, see EVERY; some names are always due all checks.

    Other names belong to the quick suite for other checks, see QUICK; the rest is long.
    """

    def due(number, name, check):
        step = EVERY.get(check, 1)
        return name in always or (step is not None and number % step == 0)

    def marks(place, name, check):
        held = check not in EVERY and name in always
        due_here = (place + list(QUICK).index(check)) % QUICK[check] == 0
        quick = held or (due_here and not (check in EVERY and name in SLOW))
        return [] if quick else [pytest.mark.long]

    return [
        pytest.param(name, check, id=f"{name}-{check.__name__}", marks=marks(place, name, check))
        for check in CHECKS
        for place, name in enumerate(name for number, name in enumerate(names) if due(number, name, check))
    ]


CUDA = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=CUDA)])
def device(request):
    return request.param


@pytest.mark.parametrize(("spec", "check"), pairs(SPECS, ALWAYS))
def test_preset_keeps_contract(spec, check, device):
    check(prepared(preset(spec), HEADS, HEAD_DIM, device=device), HEADS, HEAD_DIM, 13, False, device)


@pytest.mark.parametrize(("spec", "check"), pairs(FIXED, FIXED))
def test_preset_of_fixed_length_keeps_contract(spec, check, device):
    check(prepared(preset(spec), HEADS, HEAD_DIM, device=device), HEADS, HEAD_DIM, FIXED_LENGTH, True, device)


@pytest.mark.parametrize(("spec", "check"), pairs(RUNNING, {RUNNING[0], RUNNING[-1]}))
def test_running_statistics_keep_contract_in_evaluation(spec, check, device):
    problem = prepared(preset(spec), 4, 6, device=device)
    for seed in range(3):
        problem.attend(*tensors(4, 6, 9, seed=seed, device=device))
    check(problem.eval(), 4, 6, 13, False, device)


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
        "conv2d+bn+grid": PrimalProblem(
            transform=Chain(Convolution2d(3), BatchNormalization()), subset=classed
        ),
        "linear+bn+conv2d+grid": PrimalProblem(
            EluPlusOne(), transform=Chain(BatchNormalization(), Convolution2d(3)), subset=grid
        ),
        "conv2d with queries, grid": PrimalProblem(transform=Convolution2d(3, queries=True), subset=classed),
    }


def test_every_check_meets_every_word_of_a_spec_and_most_do_in_the_quick_suite():
    given = pairs(SPECS, ALWAYS) + pairs(FIXED, FIXED)
    for wanted in CHECKS:
        met = [pair for pair in given if pair.values[1] is wanted]
        met = met if wanted in EVERY else [pair for pair in met if not pair.marks]
        assert set(PARTS) == set().union(*(words(pair.values[0]) for pair in met))


@pytest.mark.parametrize(
    ("name", "check"), pairs(fixed_size_problems(), {"masked", "conv2d with queries, grid"})
)
def test_fixed_size_keeps_contract(name, check, device):
    check(prepared(fixed_size_problems()[name], 4, 6, device=device), 4, 6, 12, True, device)
