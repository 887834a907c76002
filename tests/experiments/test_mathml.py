from __future__ import annotations

from xml.etree import ElementTree

import pytest

from primaldual.errors import UnsupportedError
from primaldual.experiments.mathml import mathml
from primaldual.primal.presets import preset
from primaldual.primal.words import PARTS, examples

SPECS = [spec for word in PARTS for spec in examples(word)]


@pytest.mark.parametrize("spec", [*SPECS, "taylor(3)", "bn+sh", "bn(learnable=true)", "sh(1,2,grid=4x4)"])
def test_every_part_of_the_library_has_well_formed_mathml(spec):
    markup = mathml(preset(spec).equation("latex"))
    root = ElementTree.fromstring(markup)
    assert root.tag == "math"
    assert "\\" not in markup
    assert len(root.findall(".//mtr")) >= 4


@pytest.mark.parametrize(
    ("latex", "expected"),
    [
        (r"\tfrac12", "<mfrac><mn>1</mn><mn>2</mn></mfrac>"),
        (r"x_i^2", "<msubsup><mi>x</mi><mi>i</mi><mn>2</mn></msubsup>"),
        (r"\sum_j k", "<munder><mo>∑</mo><mi>j</mi></munder><mi>k</mi>"),
        (r"\sqrt{ab}", "<msqrt><mrow><mi>a</mi><mi>b</mi></mrow></msqrt>"),
        (r"a<b", '<mi>a</mi><mo stretchy="false">&lt;</mo><mi>b</mi>'),
        (
            r"\text{of $r_h$ }",
            "<mtext>of\u00a0</mtext><msub><mi>r</mi><mi>h</mi></msub><mtext>\u00a0</mtext>",
        ),
        (
            r"\left(x\right.",
            '<mrow><mo fence="true" stretchy="true">(</mo><mi>x</mi></mrow>',
        ),
    ],
)
def test_by_hand(latex, expected):
    assert mathml(latex) == f'<math display="block">{expected}</math>'


@pytest.mark.parametrize("latex", [r"\unknown x", r"\frac12\href{x}", r"\frac1"])
def test_what_is_not_understood_is_refused(latex):
    with pytest.raises(UnsupportedError, match="equation"):
        mathml(latex)
