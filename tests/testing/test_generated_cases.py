"""A short run of ``python -m benchmarks.generated_cases``, and faults that it must find."""

import re
import warnings
from random import Random

import pytest
import torch
from benchmarks.generated_cases.arguments import ARGUMENTS, Place
from benchmarks.generated_cases.case import draw_case
from benchmarks.generated_cases.checking import check_case
from benchmarks.generated_cases.specs import draw_spec

from primaldual import PrimalProblem
from primaldual.errors import SlowAttentionWarning
from primaldual.primal.presets import _spelled_out
from primaldual.primal.words import NAMED, PARTS, own_module

BLOCKS, CASES = 6, 25


@pytest.mark.parametrize("block", range(BLOCKS))
def test_generated_cases_agree_with_the_definition(block):
    warnings.simplefilter("ignore", SlowAttentionWarning)
    for number in range(block * CASES, (block + 1) * CASES):
        case = draw_case(number)
        assert check_case(case).faults == (), case


@pytest.mark.parametrize("number", [4092, 8896])
def test_close_keys_and_many_features_stay_within_the_condition_of_the_case(number):
    """Keys of bn that nearly agree, in a union; and ridge on one key with features in the hundreds."""
    case = draw_case(number)
    assert check_case(case).faults == (), case


def _faulty(change):
    def attend(self, query, key, value, mask=None, is_causal=False):
        return change(self.dense(query, key, value, mask, is_causal))

    return attend


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda out: out * (1 + 1e-3), "outputs: off by"),
        (lambda out: out * (1 + 1e-8), "outputs: off by"),
        (lambda out: out[:, :, :0], "outputs: shape"),
        (lambda out: out + torch.nan, "numbers are not finite"),
        (lambda out: out.detach() + 0 * out, "gradient of query: off by"),
        (lambda out: out.missing, "AttributeError"),
    ],
)
def test_faults_are_found(monkeypatch, change, told):
    monkeypatch.setattr(PrimalProblem, "attend", _faulty(change))
    warnings.simplefilter("ignore", SlowAttentionWarning)
    found = [check_case(draw_case(number)) for number in range(20)]
    assert any(told in fault for outcome in found for fault in outcome.faults)


def test_a_case_is_the_same_every_time():
    first, second = draw_case(7), draw_case(7)
    assert str(first) == str(second)
    assert all(torch.equal(one, other) for one, other in zip(first.inputs, second.inputs, strict=True))


def test_every_word_of_a_spec_is_drawn():
    own = {word for word, part in PARTS.items() if own_module(part) is None}
    assert set(ARGUMENTS) == own | set(NAMED)
    place = Place(2, None, 0)
    drawn = {word for number in range(400) for word in _words(draw_spec(Random(number), place))}
    assert drawn >= own


def _words(spec):
    return re.findall(r"[a-z]\w*(?=[(+|]|$)", _spelled_out(spec))
