"""The committed page and figures are what the generator writes."""

import copy
import importlib.util
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from benchmarks.performance import Results, figures, page
from benchmarks.performance.tables import tables

from tests.performance.fakes import runner

GENERATOR = Path(__file__).parents[2] / "docs" / "make_performance.py"


def load():
    specification = importlib.util.spec_from_file_location("make_performance", GENERATOR)
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module
    specification.loader.exec_module(module)
    return module


BUILT = load()


def test_the_committed_page_is_the_one_that_the_generator_writes():
    assert (BUILT.DOCS / "performance.md").read_text(encoding="utf-8") == BUILT.files()["performance.md"], (
        "run make docs"
    )


@pytest.mark.long
def test_the_committed_figures_are_those_of_the_results():
    for name in BUILT.files():
        if name.endswith(".svg"):
            committed = ElementTree.fromstring((BUILT.DOCS / name).read_text(encoding="utf-8"))
            written = ElementTree.fromstring(BUILT.files()[name])
            # Places of texts depend on the fonts of the machine; what they say does not.
            assert [*committed.itertext()] == [*written.itertext()], "run make docs"


@pytest.fixture(scope="module")
def whole_run():
    with pytest.MonkeyPatch.context() as patch:
        one, found, _ = runner(patch)
        one.run()
    return found


@pytest.fixture
def results(whole_run):
    return copy.deepcopy(whole_run)


def test_the_page_says_what_was_measured_and_what_was_not(results):
    text = page(results, "figures/")
    assert "2 of 3 goals reached" in text
    assert "| bn / SDPA | 16 | forward | 1.00 (1.00–1.00) | ≤ 1.03 | reached |" in text
    assert "| bn / formula | 16 | forward+backward, peak memory | 9.00 × | ≥ 8 × | reached |" in text
    assert "| compiled |  | takes long |" in text
    assert "(figures/performance_ratio.svg)" in text
    assert "stopped before its end" not in text
    assert "quick run" not in text


def test_the_page_says_when_a_run_was_stopped_or_quick(results):
    results.finished, results.quick = False, True
    assert "stopped before its end" in page(results, "")
    assert "few rounds prove nothing" in page(results, "")


def test_a_page_of_nothing():
    empty = Results("python -m benchmarks.performance", "now")
    assert figures(empty) == {}
    assert tables(empty) == []
    assert "# Performance" in page(empty, "")


def test_figures_are_drawings_with_words_for_screen_readers(results):
    for drawing in figures(results).values():
        root = ElementTree.fromstring(drawing)
        assert root.get("role") == "img"
        assert "sequence length" in root.get("aria-label")
