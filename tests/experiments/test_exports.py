from __future__ import annotations

import csv

import pytest
from aeon.benchmarking.results_loaders import get_estimator_results_as_array
from pyarrow import parquet
from tests.experiments.comparing.made_up import result

from primaldual.errors import ArgumentError
from primaldual.experiments.exports import export

RESULTS = [
    result(data, method, seed, value + 0.02 * seed)
    for data, value in (("A_set|1", 0.5), ("B", 0.7))
    for method in ("QUANT", "bn+sh")
    for seed in (0, 1)
]


def test_csv_has_a_row_for_each_cell(tmp_path):
    assert export(RESULTS, tmp_path / "new" / "r.csv") == [tmp_path / "new" / "r.csv"]
    with (tmp_path / "new" / "r.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8
    assert (rows[0]["data"], rows[0]["method"], rows[1]["accuracy"], rows[0]["optimistic"]) == (
        "A_set|1", "QUANT", "0.52", "False",
    )  # fmt: skip


def test_parquet_has_the_same_rows(tmp_path):
    export(RESULTS, tmp_path / "r.parquet")
    assert parquet.read_table(tmp_path / "r.parquet").column("accuracy").to_pylist() == [
        one.accuracy for one in RESULTS
    ]


def test_markdown_and_latex_tables_escape_names(tmp_path):
    export(RESULTS, tmp_path / "r.md")
    markdown = (tmp_path / "r.md").read_text()
    assert r"| A_set\|1 | 51.0 ± 1.4 | 51.0 ± 1.4 |" in markdown
    assert "mean of 2" in markdown
    export(RESULTS, tmp_path / "r.tex")
    latex = (tmp_path / "r.tex").read_text()
    assert r"A\_set|1 & 51.0 $\pm$ 1.4 & 51.0 $\pm$ 1.4 \\" in latex


@pytest.mark.parametrize("name", ["r.md", "r.tex"])
def test_optimistic_numbers_are_labelled(tmp_path, name):
    export([result("A", "bn", 0, 0.5, protocol="paper")], tmp_path / name)
    assert "Optimistic" in (tmp_path / name).read_text()


def test_aeon_reads_its_layout(tmp_path):
    export(RESULTS, tmp_path / "tsml")
    found, names = get_estimator_results_as_array(
        ["QUANT"], num_resamples=None, path=str(tmp_path / "tsml"), datasets=["B"]
    )
    assert (found.tolist(), names) == ([[pytest.approx(0.71)]], ["B"])
    assert (tmp_path / "tsml" / "classification" / "accuracy" / "bn+sh_accuracy.csv").is_file()


def test_bad_targets_are_refused(tmp_path):
    with pytest.raises(ArgumentError, match=r"ends in .xlsx; accepted: .csv"):
        export(RESULTS, tmp_path / "r.xlsx")
    with pytest.raises(ArgumentError, match="no finished results"):
        export([], tmp_path / "r.csv")
