from __future__ import annotations

import re

import pytest
from tests.experiments.comparing.made_up import result
from tests.experiments.page import parsed

from primaldual.experiments.comparing import Groups, overview
from primaldual.experiments.grid_report import render_grid
from primaldual.experiments.literature import Published
from primaldual.experiments.store import Failure

EVIL = "<script>alert(1)</script>"
MEASURES = {"operations": 1e6, "head_distance": 0.5}
CLASSES = [f"class {number}" for number in range(20)]
MANY = {
    "labels": CLASSES,
    "confusion": [
        [5 if row == column else int(row == 3 and column == 4) for column in range(20)] for row in range(20)
    ],
    "wrong": [15],
}


def _results(protocol="honest"):
    found = [
        result(
            data,
            method,
            seed,
            value + 0.01 * seed,
            protocol,
            **({"measures": MEASURES} if method == "bn" else {}),
        )
        for data, value in (("ERing", 0.8), (f"set {EVIL}", 0.6))
        for method, value in (("bn", value), ("QUANT", value + 0.1), (f"m {EVIL}", value))
        for seed in range(3)
    ]
    return found + [result("Many", name, 0, 0.99, protocol, **MANY) for name in ("bn", "QUANT", f"m {EVIL}")]


def _page(results, failures=(), published=()):
    groups = Groups(results)
    counts = {"all": len(results) + len(failures), "finished": len(results), "missing": 0}
    sizes = {data: f"12 cases of {data}" for data in groups.data}
    found = overview(groups) if results else None
    return render_grid(found, groups, failures, counts, sizes, f"primaldual grid '{EVIL}'", published)


@pytest.fixture(scope="module")
def html():
    failure = Failure("ab12", f"ERing, {EVIL}, seed 0", "error", EVIL, f"Traceback {EVIL}")
    return _page(_results(), [failure], [Published("ERing", EVIL, 0.875, "optimistic")])


def test_page_is_well_formed_and_every_link_has_its_place(html):
    page = parsed(html)
    assert len(page.ids) == len(set(page.ids))
    links = [value for name, value in page.attributes if name == "href" and "cell-" in value]
    assert len(links) == len(_results())
    for name, value in page.attributes:
        if name in {"href", "xlink:href"}:
            assert value.removeprefix("#") in page.ids, value


def test_page_loads_nothing_and_escapes_every_name(html):
    assert "<script" not in html
    assert "http" not in re.sub(r'xmlns(:xlink)?="[^"]*"', "", html)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html


def test_numbers_stand_with_their_intervals_and_cost(html):
    text = " ".join(" ".join(parsed(html).text).split())
    for words in (
        "QUANT has the highest mean test accuracy, 87.0 % (95 % interval",
        "for 6 s of processor time",
        "1 of 22 runs are missing or failed",
        "Runs failed 1",
        "class 3 taken for class 4: 1",
        "87.5",
        "Protocol: honest",
        "epochs = 3",
        "cannot be compared with an honest one",
    ):
        assert words in text, words
    assert "Optimistic numbers" not in text


def test_every_drawing_is_labelled_and_explained(html):
    drawings = html.count("<svg ")
    assert drawings == html.count('role="img" aria-label="') == html.count("<figcaption>")
    assert drawings == 2 + 3  # ranks and time, three sets; one method alone has operations and heads


def test_optimistic_numbers_are_labelled_wherever_they_stand():
    html = _page(_results("paper"))
    text = " ".join(parsed(html).text)
    assert "Optimistic numbers:" in text
    assert "Protocol: paper, optimistic" in text
    assert html.count("<small>optimistic</small>") >= len(_results())


def test_a_grid_without_results_or_with_one_gives_a_page():
    assert "None of 0 runs has finished" in _page([])
    assert "One data set cannot say" in _page([result("ERing", "bn", 0, 0.8)])


def test_methods_on_different_sets_give_a_page():
    html = _page([result("ERing", "bn", 0, 0.8), result("Libras", "QUANT", 0, 0.8)])
    assert "No data set has results of every method yet" in html
