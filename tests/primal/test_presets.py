"""The spec grammar: what it accepts, what it says when it does not."""

import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.contract_specs import SPECS

from primaldual import (
    PARTS,
    BatchNormalization,
    Constant,
    EluPlusOne,
    PooledHeads,
    PrimalProblem,
    Transform,
    Window,
    preset,
)
from primaldual.errors import SpecError
from primaldual.primal.presets import split_parts
from primaldual.primal.words import cost, examples, signature, summary


def test_parts_land_in_their_fields():
    problem = preset(" Linear + bn( beta=0.5, scale=none ) + sh(1, 2, grid=4x6, prefix=1) + constant")
    assert isinstance(problem.feature_map, EluPlusOne)
    assert isinstance(problem.normalizer, Constant)
    assert isinstance(problem.transform, BatchNormalization)
    assert (problem.transform.beta, problem.transform.scale) == (0.5, "none")
    assert isinstance(problem.subset, PooledHeads)
    assert (problem.subset.scales, problem.subset.layout.grid, problem.subset.layout.prefix) == (
        (1, 2),
        (4, 6),
        1,
    )


@pytest.mark.parametrize(
    "spec",
    [
        *SPECS,
        "bn(eps=0.001)",
        "sh(2,2,grid=3x4,prefix=1)",
        "random(8,seed=3)",
        "bn+window(0)",
        "conv2d(5,queries=true,grid=8x8,prefix=1)",
    ],
)
def test_specs_survive_the_round_trip(spec):
    assert preset(preset(spec).spec()).spec() == preset(spec).spec()


@pytest.mark.parametrize("word", PARTS)
def test_what_the_table_gives_of_a_word(word):
    kind = PARTS[word]
    assert kind.name in (word, None, "")
    assert kind.choice in PrimalProblem().parts()._fields
    assert summary(word)
    assert not summary(word).endswith(".")
    assert re.fullmatch(rf"{word}(\(.*\))?", signature(word))
    for spec in examples(word):
        parts = [part for part in preset(spec).modules() if type(part) is kind]
        assert len(parts) == 1, f"{spec} is not an example of {word}"
        assert preset(preset(spec).spec()).spec() == preset(spec).spec()


class Unnamed(Transform):
    """T(x) = 2 x. Two sentences."""


class Sized(Window):
    """Another one."""

    name = "sized"

    def __init__(self, radius, *, share: float | None = None, sizes: tuple[int, int] | None = None):
        super().__init__(radius)


def test_a_class_that_states_nothing_has_its_docstring(monkeypatch):
    monkeypatch.setitem(PARTS, "unnamed", Unnamed)
    monkeypatch.setitem(PARTS, "sized", Sized)
    assert (signature("unnamed"), summary("unnamed"), cost("unnamed"), examples("unnamed")) == (
        "unnamed",
        "T(x) = 2 x. Two sentences",
        "",
        ("unnamed",),
    )
    assert signature("sized") == "sized(radius, share=SHARE, sizes=RxC)"
    assert (summary("sized"), cost("sized"), examples("sized")) == ("Another one", "", ("sized",))


def test_a_problem_passes_through():
    problem = PrimalProblem(subset=Window(3))
    assert preset(problem) is problem


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "softmx",
            r"spec 'softmx' has unknown part 'softmx'; did you mean softmax\? \(one of your own needs .*\); "
            "accepted are softmax, ",
        ),
        ("bn+gated_deltnet", r"unknown part 'gated_deltnet'; did you mean gated_deltanet"),
        ("bn(bta=0.5)", r"unexpected keyword argument 'bta'; did you mean beta\?; accepted is bn\(beta"),
        (
            "bn(gamma=1)",
            r"bn: got an unexpected keyword argument 'gamma'; accepted is bn\(beta=1.0, scale=inv_std",
        ),
        ("bn(scale=half)", r"scale must be one of inv_std, none; got 'half'"),
        ("bn(eps=0)", r"eps must be a number from 1e-30 to 1e\+06; got 0"),
        ("sh(1,0)", r"scales must be integers 1 or more; got \(1, 0\)"),
        ("sh(1.5)", r"scales must be integers 1 or more"),
        ("window", r"missing a required argument: 'radius'"),
        ("window(-1)", r"radius must be an integer 0 or more; got -1"),
        ("window(3)+sh(1,2)", r"two parts for the subset: 'window\(3\)' and 'sh\(1,2\)'; accepted is one"),
        ("bn(beta=0.8", r"'bn\(beta=0.8', which is not a part"),
        ("", r"'', which is not a part"),
        ("bn(beta=__import__('os'))", r"not a part|accepted are numbers"),
        ("taylor(order=2,3)", r"positional '3' follows a named argument of taylor"),
        ("bn(beta=high)", r"beta"),
    ],
)
def test_bad_specs_name_the_part(spec, message):
    with pytest.raises(SpecError, match=message):
        preset(spec)


def test_another_type_is_refused():
    with pytest.raises(SpecError, match="attention must be a spec string or a PrimalProblem; got int"):
        preset(3)


@given(st.text(alphabet="bnsh(),=+.x12 ", max_size=24))
def test_any_text_is_read_or_refused_with_spec_error(text):
    with contextlib.suppress(SpecError):
        assert preset(text).spec()


def test_split_leaves_arguments_together():
    assert split_parts("softmax,sh(1,2),bn", ",") == ["softmax", "sh(1,2)", "bn"]
