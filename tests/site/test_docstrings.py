"""Formulas in docstrings survive reStructuredText."""

from docs.site.docstrings import process, process_signature, restructured

import primaldual


def lines(text):
    return text.strip("\n").splitlines()


def test_a_formula_becomes_a_literal_block():
    text = lines("""
Fit to pairs.

    min |W|^2 + C
        sum_j |y_j|

    f(x) = b

The rest.
""")
    shown = restructured(text)
    assert shown == [*text[:2], ".. code-block:: none", "", *text[2:]]


def test_sections_and_lists_keep_their_contents():
    text = lines("""
Args:
    x: a number.

    y: another.

- an item

    of two paragraphs
""")
    assert restructured(text) == text


def test_bars_are_escaped_in_prose_only():
    text = lines("""
The norm |x| of ``a|b``.

Example:
    >>> print("|x|")
    |x|

    |x| again
""")
    shown = restructured(text)
    assert shown[0] == r"The norm \|x\| of ``a|b``."
    assert shown[3:5] == text[3:5]
    assert shown[6] == r"    \|x\| again"


def test_a_symbol_is_no_list_and_a_reference_no_definition():
    text = lines("""
Args:
    heads: H.

Reference: Nguyen et al.,
    ICLR 2023.
""")
    assert restructured(text) == ["Args:", r"    heads: \H.", "", "Reference: Nguyen et al.,", "ICLR 2023."]


def test_the_first_line_of_an_attribute_is_no_type():
    text = ["One epoch: its numbers."]
    process(None, "data", "", None, None, text)
    assert text == ["..", "", "One epoch: its numbers."]


def test_a_signature_of_torch_is_left_out():
    assert process_signature(None, "class", "", primaldual.Transform, None, "(*args)", None) == ("", None)
    assert process_signature(None, "class", "", primaldual.Window, None, "(radius)", None) is None
