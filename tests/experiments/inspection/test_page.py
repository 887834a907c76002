from __future__ import annotations

import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.experiments.page import parsed
from torch import nn

from primaldual.analysis import HeadReport, LayerHeads
from primaldual.errors import ArgumentError, UnsupportedError
from primaldual.experiments.inspection import Subject, inspect_heads
from primaldual.experiments.inspection.figures import distance_figure, head_order, likeness_figure, linkage
from primaldual.experiments.inspection.findings import findings
from primaldual.experiments.inspection.measuring import as_json, first_case, nearest
from primaldual.experiments.inspection.page import render_inspection, write_inspection
from primaldual.models import TimeSeriesTransformer
from primaldual.reporting.numbers import percent

COMMAND = "primaldual inspect 'a & b'"


def subject(heads=4, layers=2, spec="softmax", **changes):
    torch.manual_seed(0)
    model = TimeSeriesTransformer(2, 9, 3, embed_dim=16, num_heads=heads, num_layers=layers, attention=spec)
    padding = torch.arange(9).expand(5, -1) >= torch.tensor([[6], [9], [9], [9], [9]])
    given = Subject(
        "models/<script>alert(1)</script>",
        model,
        "made <here>",
        [(torch.randn(5, 9, 2), padding)],
        5,
        "5 series",
    )
    return replace(given, **changes)


@pytest.fixture(scope="module")
def inspection():
    return inspect_heads(subject(tokens=("<b>", "keys"), notes=("The weights are random.",)))


@pytest.fixture(scope="module")
def html(inspection):
    return render_inspection(inspection, COMMAND)


def test_page_is_well_formed_loads_nothing_and_escapes(html):
    page = parsed(html)
    assert len(page.ids) == len(set(page.ids))
    assert not {"script", "link", "iframe", "b"} & set(page.tags)
    assert "http" not in re.sub(r'xmlns(:xlink)?="[^"]*"', "", html)
    for name, value in page.attributes:
        if name in {"src", "href", "xlink:href"}:
            assert value.startswith(("#", "data:")), value
    for words in ("&lt;script&gt;", "&#39;a &amp; b&#39;", "made &lt;here&gt;", "&lt;b&gt; keys"):
        assert words in html


def test_every_layer_has_its_figures_each_labelled_and_explained(html):
    assert html.count("<svg ") == 1 + 2 * 3 + 2  # importance; distance, likeness and bars; maps
    assert html.count('role="img" aria-label="') == html.count("<figcaption>") == html.count("<svg ")
    text = " ".join(parsed(html).text)
    for words in (
        "The weights are random.",
        "encoder.layers.1.attention",
        "Entropy.",
        "CKA.",
        "Importance.",
        "torch",
    ):
        assert words in text
    assert html.count("<math ") == 4


def test_numbers_in_the_page_are_those_of_the_report(inspection, html):
    text = " ".join(parsed(html).text)
    for layer in inspection.report.layers:
        assert f"{layer.redundancy:.2f}" in text
        assert f"{percent(float(layer.importance.min()))} to {percent(float(layer.importance.max()))}" in text
        for value in layer.importance:
            assert percent(float(value)) in text


def test_maps_are_of_the_first_case_without_its_padding(inspection):
    for weights in inspection.maps.values():
        assert weights.shape == (4, 6, 6)
        torch.testing.assert_close(weights.sum(-1), torch.ones(4, 6, dtype=torch.float64))


def test_files_are_written_whole_or_not_at_all(inspection, tmp_path, monkeypatch):
    page, numbers = write_inspection(inspection, tmp_path / "out", COMMAND)
    found = json.loads(numbers.read_text())
    assert found["command"] == COMMAND
    assert found["layers"] == as_json(inspection)["layers"]
    before = page.read_text(), numbers.read_text()

    def fail(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(ArgumentError, match="No space left"):
        write_inspection(inspection, tmp_path / "out", "other")
    assert (page.read_text(), numbers.read_text()) == before
    assert len(list(page.parent.iterdir())) == 2


@pytest.mark.parametrize("case", [{"heads": 1}, {"spec": "taylor(1)"}, {"heads": 16, "layers": 1}])
def test_odd_models_still_give_a_page(case):
    found = inspect_heads(subject(**case), ablate=False)
    page = parsed(render_inspection(found, COMMAND))
    assert "not measured here" in " ".join(page.text)
    if case.get("spec"):
        assert as_json(found)["layers"][0]["entropy"] == [None] * 4
        assert "not defined" in " ".join(page.text)


def test_layers_keep_the_numbers_that_the_model_gives_them():
    found = inspect_heads(subject(layers=3), [2, 0], ablate=False)
    assert found.numbers == (0, 2)
    assert [number for number, _ in found.layers] == [0, 2]


def test_the_tree_joins_the_closest_first_and_orders_the_heads():
    places = torch.tensor([0.0, 10.0, 1.0, 11.5], dtype=torch.float64)
    layer = _layer((places[:, None] - places).abs())
    assert linkage(layer)[:, :3].tolist() == [[0, 2, 1], [1, 3, 1.5], [4, 5, 10.25]]
    order = head_order(layer)
    assert {frozenset(order[:2]), frozenset(order[2:])} == {frozenset({0, 2}), frozenset({1, 3})}


def test_distances_that_are_not_finite_have_no_tree():
    layer = _layer(torch.full((3, 3), torch.inf))
    assert linkage(layer) is None
    assert head_order(layer) == [0, 1, 2]


def test_matrices_of_one_head_or_of_too_many_are_left_out():
    assert distance_figure(_layer(torch.zeros(1, 1))) == likeness_figure(_layer(torch.zeros(1, 1))) == ""
    assert likeness_figure(_layer(torch.zeros(40, 40))) == ""
    assert "40 heads" in distance_figure(_layer(torch.rand(40, 40).fill_diagonal_(0)))


def test_findings_name_the_extremes(inspection):
    layer = LayerHeads(
        "a", "softmax", torch.tensor([0.1, 0.9]), torch.zeros(2, 2), torch.tensor([[1, 0.7], [0.7, 1]]),
        torch.tensor([0.002, 0.25]),
    )  # fmt: skip
    found = replace(inspection, report=HeadReport((layer,), 1, False), numbers=(3,))
    assert findings(found) == [
        "Silencing one head changes the output by 0.20 % (layer 3, head 0) to 25.0 % (layer 3, head 1). "
        "1 of 2 heads change it by less than 1 % each.",
        "The most alike heads of one layer are 0 and 1 of layer 3, with a CKA of 0.70.",
        "The narrowest head is 0 of layer 3 (entropy 0.10), the widest 1 of layer 3 (0.90).",
    ]
    assert nearest(layer.likeness) == [(1, pytest.approx(0.7)), (0, pytest.approx(0.7))]
    assert nearest(torch.ones(1, 1)) == []


def test_a_model_that_does_not_run_or_does_not_attend_is_refused():
    with pytest.raises(UnsupportedError, match="does not run on 5 series"):
        inspect_heads(subject(batches=[torch.zeros(1, 9, 7)]))
    with pytest.raises(UnsupportedError, match="Linear has no supported attention layer"):
        inspect_heads(subject(model=nn.Linear(2, 2)))


def test_first_case_of_every_form():
    x = torch.arange(6).reshape(3, 2)
    assert (
        first_case(x).tolist()
        == first_case((x,))[0].tolist()
        == first_case({"x": x})["x"].tolist()
        == [[0, 1]]
    )


def _layer(distances):
    heads = len(distances)
    nothing = torch.full((heads,), math.nan)
    return LayerHeads("layer", "softmax", nothing, distances, torch.from_numpy(np.eye(heads)), nothing)
