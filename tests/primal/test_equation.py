"""Equations name every part."""

import pytest

from primaldual import preset
from primaldual.errors import ArgumentError


@pytest.mark.parametrize("style", ["text", "latex"])
def test_equation_shows_each_choice(style):
    shown = preset("linear+bn(beta=0.8)+sh(1,2)").equation(style)
    for piece in ("elu", "0.8", "1, 2"):
        assert piece in shown
    assert "exp" not in shown


def test_constant_and_window_are_said():
    shown = preset("constant+window(7)").equation()
    assert "h(x) = 1" in shown
    assert "≤ 7" in shown


def test_unknown_style():
    with pytest.raises(ArgumentError, match='style must be "text" or "latex"; got \'html\''):
        preset("softmax").equation("html")
