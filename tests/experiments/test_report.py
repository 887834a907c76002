from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from tests.experiments.fakes import FakeSettings
from tests.experiments.page import parsed

from primaldual.errors import ArgumentError
from primaldual.experiments import open_comparison
from primaldual.experiments.profile import Profile
from primaldual.experiments.report import render, write_report
from primaldual.experiments.summary import summarise
from primaldual.primal.presets import preset


def _profile(spec):
    problem = preset(spec)
    maps = np.random.default_rng(0).dirichlet(np.ones(5), (2, 4, 5)).tolist()
    head = {"fitted": [0, 1, 2], "targets": [0.1, 0.9, 2], "share": [1, 0.5, 0], "epsilon": 0.1}
    regressions = [] if spec == "bn" else [[head] * 4] * 2
    return Profile(
        70_000, 1_700_000, 340_000, 3_800_000, (0.0071, 0.0070, 0.0073), 32, 11_000_000,
        [[1.0, 2.0], [1.5, 2.5]], maps, problem.equation(), problem.equation("latex"), regressions,
    )  # fmt: skip


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    source = folder / "<script>alert(1)<script>.npz"
    generator = np.random.default_rng(0)
    np.savez(source, X=generator.normal(size=(40, 2, 6)), y=["a", "b"] * 20)
    settings = FakeSettings(str(source), ("softmax", "bn", "sh(1,1,2,4)"), (0, 1))
    comparison = open_comparison(settings, folder / "out")
    comparison.execute(1, lambda _: None)
    profiles = {spec: _profile(spec) for spec in settings.attentions}
    return comparison, summarise(settings.attentions, comparison.finished, profiles)


@pytest.fixture(scope="module")
def html(material):
    return render(*material, "primaldual compare 'a & b' --seeds 2")


def test_page_is_well_formed_with_unique_ids(html):
    page = parsed(html)
    assert len(page.ids) == len(set(page.ids))


def test_page_loads_nothing(html):
    without_names = re.sub(r'xmlns(:xlink)?="[^"]*"', "", html)
    assert "http" not in without_names
    page = parsed(html)
    assert not {"script", "link", "iframe"} & set(page.tags)
    for name, value in page.attributes:
        if name in {"src", "href", "xlink:href"}:
            assert value.startswith(("#", "data:")), value


def test_names_from_outside_are_escaped(html):
    assert "<script>" not in html
    assert "&lt;script&gt;alert(1)" in html
    assert "&#39;a &amp; b&#39;" in html


def test_every_drawing_is_labelled_and_every_figure_explained(html):
    drawings = html.count("<svg ")
    assert drawings == 11 - 1  # no validation loss: the fake keeps none
    assert html.count('role="img" aria-label="') == drawings == html.count("<figcaption>")


def test_numbers_in_the_page_are_those_of_the_summaries(material, html):
    text = " ".join(parsed(html).text)
    for summary in material[1]:
        assert summary.accuracy.text(1, 100) in text
    for words in ("70 k", "340 k", "1.7 M", "3.8 M", "7.1 ms", "10.5 MiB", "1.25 ± 0.35", "torch"):
        assert words in text
    assert html.count("<math ") == 3


def test_equations_outside_the_latex_subset_are_shown_as_text(material):
    comparison, summaries = material
    odd = [replace(one, profile=replace(one.profile, latex=r"\weird")) for one in summaries]
    page = render(comparison, odd, "")
    assert "<math " not in page
    assert "Σ_j" in page


def test_one_seed_one_attention_and_no_profile_still_give_a_page(material):
    comparison, _ = material
    single = replace(comparison, settings=replace(comparison.settings, attentions=("softmax",), seeds=(0,)))
    alone = summarise(("softmax",), comparison.finished[:1], {})
    page = parsed(render(single, alone, "primaldual compare toy --seeds 1"))
    assert "baseline" in " ".join(page.text)


def test_one_seed_says_that_it_proves_nothing(material):
    comparison, _ = material
    settings = replace(comparison.settings, seeds=(0,))
    single = replace(comparison, settings=settings)
    page = render(single, summarise(settings.attentions, comparison.finished[:3], {}), "")
    assert "One seed cannot tell a difference from chance" in page


def test_report_is_written_whole_or_not_at_all(material, monkeypatch):
    comparison, summaries = material
    path = write_report(comparison, summaries, "primaldual compare toy")
    before = path.read_text()

    def fail(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(ArgumentError, match="No space left"):
        write_report(comparison, summaries, "another command")
    assert path.read_text() == before
    assert sorted(one.name for one in path.parent.iterdir()) == ["models", "report.html", "results.sqlite"]


def test_implied_regressions_are_drawn_where_there_are_any(material):
    whole = render(*material, "primaldual compare data")
    assert "Every head as a regression" in whole
    assert "Implied regressions: softmax" in whole
    assert "Implied regressions: bn" not in whole
    comparison, summaries = material
    bare = [replace(one, profile=replace(one.profile, regressions=[])) for one in summaries]
    assert "Every head as a regression" not in render(comparison, bare, "primaldual compare data")
