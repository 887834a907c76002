"""Every check of the contract passes a sound attention and finds a planted fault."""

import pytest

import tests.testing.faults as planted
from primaldual import PrimalProblem
from primaldual.errors import ArgumentError
from primaldual.primal.feature_maps import EluPlusOne
from primaldual.testing import CHECKS, check_attention
from primaldual.testing.inputs import prepared


def with_transform(transform):
    return PrimalProblem(EluPlusOne(), transform=transform)


# check, attention, and a part of the message
FAULTS = [
    ("check_dense", planted.Inexact(), r"taylor\(2\), 13 keys, .*mask none, is_causal False: Tensor-likes"),
    ("check_map", planted.HalvedMap(), r"taylor\(2\), attention_map @ value, mask none"),
    ("check_gradients", planted.WrongGradient(), "gradients differ from finite differences"),
    ("check_gradients", planted.FlatAtZero(), "derivative at a query of exactly 0 is 0;"),
    ("check_parameters", with_transform(planted.DetachedGain()), "gradient of transform.gain"),
    ("check_parameters", with_transform(planted.DetachedBuffer()), "gradient of transform.gain"),
    ("check_parameters", with_transform(planted.DoubledGradient()), "transform.gain differ from finite"),
    ("check_padding", planted.ReadsPadding(), "NaN in padded keys"),
    ("check_empty_rows", planted.FillsEmptyRows(), "must give exactly 0"),
    ("check_empty_inputs", planted.NeedsSamples(), r"taylor\(2\), attend, batch 0, .*ValueError: planted"),
    ("check_prefix_rule", planted.SeesFuture(), "causal row 0 of 13"),
    ("check_samples", planted.MixesSamples(), "a sample in a batch"),
    ("check_low_precision", planted.OverflowsInBfloat16(), "bfloat16, .*not finite"),
    ("check_module", planted.DiffersInTraining(), "in evaluation"),
    (
        "check_keep_heads",
        with_transform(planted.GainOfAllHeads()),
        r"implements keep_heads\(members, heads\)",
    ),
    ("check_identity", with_transform(planted.Stolen()), "the name 'bn' is taken by BatchNormalization"),
    ("check_identity", with_transform(planted.Nameless()), r"Nameless: spec\(\) is empty"),
    ("check_identity", PrimalProblem(transform=planted.Nameless()), "'softmax' names the default problem"),
    ("check_identity", with_transform(planted.HiddenArgument()), "power = 2 and 3 have one spec"),
    ("check_identity", planted.TakesEveryState(), "step accepts the DecodingState of softmax"),
    ("check_identity", planted.ForeignSpec(), "the spec rebuilds another problem"),
    ("check_memory_layout", planted.AssumesContiguous(), "transposed: all, outputs"),
    ("check_decoding", planted.StepsAstray(), "decoded in pieces of"),
    ("check_decoding", planted.StepsIntoPadding(), "outputs of padding must be exactly 0"),
    ("check_decoding", planted.StepsLoseDigits(), r"decoded in torch.float32, keys random: relative error"),
    (
        "check_rounding",
        planted.LosesDigits(),
        r"float32, keys random, is_causal False: the output of attend has",
    ),
    ("check_future", planted.RoundsByLargestKey(), "a last key of 1e4 moves earlier outputs"),
    ("check_second_derivatives", planted.OpaqueGradient(), "hvp, query"),
    ("check_torch_func", planted.RefusesNamelessly(), "accepted is the right result, or an UnsupportedError"),
    ("check_tracing", planted.BakesMask(), "traced with all keys"),
    ("check_compile", planted.BreaksGraph(), ""),
    ("check_export", planted.OneLength(), ""),
]
BY_NAME = {check.__name__: check for check in CHECKS}


@pytest.mark.parametrize(
    ("name", "problem", "message"),
    FAULTS,
    ids=lambda part: part if isinstance(part, str) else type(part).__name__,
)
def test_a_planted_fault_is_found(name, problem, message):
    # What cannot be compiled or exported is told by torch's own exceptions.
    kind = Exception if name in ("check_compile", "check_export") else AssertionError
    with pytest.raises(kind, match=f"(?s){message}"):
        BY_NAME[name](prepared(problem, 4, 6), 4, 6, 13, False)


def test_every_check_has_a_fault_that_it_finds():
    assert {name for name, _, _ in FAULTS} == set(BY_NAME)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_sound_attention_passes(check):
    check(prepared(PrimalProblem(transform=planted.Gain()), 4, 6), 4, 6, 13, False)


def test_a_refusal_passes_only_if_it_names_the_attention():
    check = BY_NAME["check_torch_func"]
    check(prepared(planted.RefusesTransforms(), 4, 6), 4, 6, 13, False)
    with pytest.raises(AssertionError, match="UnsupportedError: not offered under"):
        check(prepared(planted.RefusesNamelessly(), 4, 6), 4, 6, 13, False)


@pytest.mark.parametrize("level", ["quick", "full"])
def test_other_exceptions_become_assertions_that_name_the_attention(level):
    with pytest.raises(AssertionError, match=r"gain.*ValueError: planted"):
        check_attention(with_transform(planted.Raises()), level=level)


def test_other_levels_are_refused():
    with pytest.raises(ArgumentError, match="level must be 'full' or 'quick'; got 'slow'"):
        check_attention("softmax", level="slow")
