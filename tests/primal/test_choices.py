"""Facts of a whole problem, from those of its parts."""

import pytest

from primaldual import Chain, Convolution2d, PrimalProblem, Transform, preset
from primaldual.kernels.layout import SEQUENCE, Layout


@pytest.mark.parametrize(
    ("spec", "layout", "needed"),
    [
        ("softmax", SEQUENCE, False),
        ("bn+window(2)", SEQUENCE, False),
        ("sh(1,1)", SEQUENCE, False),
        ("sh(1,2,grid=2x3,prefix=1)", Layout((2, 3), 1), True),
        ("bn+conv2d(3,grid=4x4,prefix=1)", Layout((4, 4), 1), True),
        ("conv(3,prefix=2)", SEQUENCE, True),
    ],
)
def test_layout(spec, layout, needed):
    parts = preset(spec).parts()
    assert parts.layout == layout
    assert parts.needs_layout(2) == needed


def test_steps_of_chains_in_chains():
    inner = Chain(preset("bn").transform, Convolution2d(grid=(2, 2)))
    outer = Chain(preset("conv(3)").transform, inner)
    assert [step.spec() for step in outer.steps()] == ["conv(3)", "bn", "conv2d(3,grid=2x2)"]
    assert outer.layout == Layout((2, 2))
    assert outer.two_dimensional
    assert outer.keeps_queries is False
    assert PrimalProblem().transform.keeps_queries


class Replaced(Chain):
    """A chain with another definition."""

    def dense(self, query, keys, valid, heads):
        return query, keys


def test_a_changed_definition_is_one_step():
    changed = Replaced(preset("bn(running=true)").transform).bind(2, 4)
    assert changed.steps() == [changed]
    assert not changed.fixed_at_inference


def test_fixed_heads():
    assert preset("sh(1,2,4)").subset.fixed_heads == 3
    assert [part.fixed_heads for part in preset("sh").parts()] == [None] * 7


def test_defaults_of_a_transform():
    part = Transform()
    assert (part.steps(), part.layout, part.neighbours) == ([part], SEQUENCE, False)
    assert not any([part.keeps_queries, part.fixed_at_inference, part.two_dimensional])
