"""The pages of the presets are what the code says."""

import re
from xml.etree import ElementTree

import pytest
import torch
from docs.build import ROOT, files
from docs.preset_facts import DEFINITION, MERGED, PER_QUERY, PRESETS, SCORES
from docs.preset_pages import page, page_name, shown_spec

from primaldual import PARTS, Transform, preset
from primaldual.experiments.mathml import mathml
from primaldual.primal.words import signature

EVERY = pytest.mark.parametrize("facts", PRESETS, ids=lambda facts: facts.spec)


WRITTEN = files()


@pytest.mark.parametrize("path", WRITTEN)
def test_committed_pages_and_tables_are_those_that_the_generator_writes(path):
    assert (ROOT / path).read_text() == WRITTEN[path], "run make docs"


def test_no_page_is_left_over():
    committed = {f"docs/presets/{path.name}" for path in (ROOT / "docs" / "presets").iterdir()}
    assert committed <= set(WRITTEN)


def test_every_word_has_a_page_and_a_row_in_every_table():
    for word in PARTS:
        assert f"docs/presets/{page_name(word)}" in WRITTEN
        assert f"| [`{shown_spec(word)}`](docs/presets/{page_name(word)}) |" in WRITTEN["README.md"]
        assert f"| `{signature(word)}` |" in WRITTEN["docs/all_of_primaldual.md"]
        assert f"| [`{shown_spec(word)}`]({page_name(word)}) |" in WRITTEN["docs/presets/README.md"]


class Tempered(Transform):
    """T(x) = t x, t > 0 learned.

    Args:
        start: t at the start; a value of
            two lines.
    """

    name = "tempered"
    summary = "queries and keys | scaled"
    cost = "that of softmax"

    def __init__(self, *, start: float = 1.0) -> None:
        super().__init__()
        self.start = start

    def bind(self, heads, head_dim):
        self.factor = torch.nn.Parameter(torch.full((heads, 1, 1), self.start))
        return self

    def dense(self, query, keys, valid, heads):
        factor = self.factor[heads.members].to(query.dtype)
        return query * factor, keys * factor.unsqueeze(-1)

    def keep_heads(self, members, heads):
        self.factor = torch.nn.Parameter(self.factor.detach()[members])

    def formula(self, style):
        return ["T(x) = t x"]


def test_a_new_word_gets_a_page_that_runs_and_rows_in_the_tables(monkeypatch):
    monkeypatch.setitem(PARTS, "tempered", Tempered)
    written = files()
    page = written["docs/presets/tempered.md"]
    for words in (
        "# `tempered`",
        "* `start`: t at the start; a value of two lines.",
        "& T(x) = t x",
        "queries and keys | scaled. Cost: that of softmax",
        'check_attention("tempered", level="quick")',
        "| causal | ",
    ):
        assert words in page
    for block in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL):
        exec(compile(block, "tempered.md", "exec"), {})
    row = r"| [`tempered`](docs/presets/tempered.md) | queries and keys \| scaled | that of softmax |"
    assert row in written["README.md"].splitlines()
    assert (
        r"| [`tempered`](tempered.md) | Queries and keys \| scaled. | that of softmax | |"
        in written["docs/presets/README.md"]
    )
    assert "|  | `Tempered` | `tempered(start=1.0)` | T(x) = t x |" in written["docs/all_of_primaldual.md"]


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
    assert f"```math\n{latex}\n```" in page(facts)
    markup = mathml(latex)
    assert "\\" not in markup
    assert len(ElementTree.fromstring(markup).findall(".//mtr")) == len(rows)


@EVERY
@pytest.mark.parametrize("case", range(3), ids=["all", "causal", "mask"])
def test_the_form_is_the_one_that_the_page_names(facts, case):
    mask = torch.ones(64, 64, dtype=torch.bool)
    options = [{}, {"is_causal": True}, {"mask": mask}][case]
    forms = preset(facts.spec).explain((1, 4, 64, 4), **options).forms
    named = {"dense": DEFINITION, "scores": SCORES, "per query": PER_QUERY, "merged": MERGED}
    for form, words in named.items():
        assert (form in forms) == (words in facts.costs[case].how)


@EVERY
def test_every_reduction_is_shown_by_code_that_can_fail(facts):
    assert facts.reductions
    for _, code in facts.reductions:
        assert "assert" in code
