"""The pages of the presets are what the code says."""

import importlib.util
import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch

from primaldual import preset
from primaldual.experiments.mathml import mathml

BUILD = Path(__file__).parent.parent / "docs" / "build.py"


def load():
    specification = importlib.util.spec_from_file_location("docs_build", BUILD)
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module  # dataclasses look their module up
    specification.loader.exec_module(module)
    return module


BUILT = load()
EVERY = pytest.mark.parametrize("facts", BUILT.PRESETS, ids=lambda facts: facts.spec)


def test_committed_pages_are_those_that_the_generator_writes():
    committed = {path.name: path.read_text() for path in BUILT.FOLDER.iterdir()}
    assert committed == BUILT.pages(), "run make docs"


def test_every_preset_has_a_page():
    shown = "+".join(facts.spec for facts in BUILT.PRESETS)
    assert {re.split(r"\W", part)[0] for part in shown.split("+")} == set(BUILT.PARTS)


@EVERY
def test_equation_is_sound_latex_and_has_mathml(facts):
    latex = preset(facts.spec).equation("latex")
    bare = re.sub(r"\\[{}]", "", latex)
    assert bare.count("{") == bare.count("}")
    assert latex.count(r"\left") == latex.count(r"\right")
    assert "$" not in latex
    assert "\n\n" not in latex
    begin, *rows, end = latex.split("\n")
    assert (begin, end) == (r"\begin{aligned}", r"\end{aligned}")
    assert all(row.count("&") == 1 for row in rows)
    assert all(row.endswith(r" \\") for row in rows[:-1])
    assert f"```math\n{latex}\n```" in BUILT.page(facts)
    markup = mathml(latex)
    assert "\\" not in markup
    assert len(ElementTree.fromstring(markup).findall(".//mtr")) == len(rows)


@EVERY
@pytest.mark.parametrize("case", range(3), ids=["all", "causal", "mask"])
def test_the_form_is_the_one_that_the_page_names(facts, case):
    mask = torch.ones(64, 64, dtype=torch.bool)
    options = [{}, {"is_causal": True}, {"mask": mask}][case]
    forms = preset(facts.spec).explain((1, 4, 64, 4), **options).forms
    assert ("dense" in forms) == (BUILT.DEFINITION in facts.costs[case].how)


@EVERY
def test_every_reduction_is_shown_by_code_that_can_fail(facts):
    assert facts.reductions
    for _, code in facts.reductions:
        assert "assert" in code
