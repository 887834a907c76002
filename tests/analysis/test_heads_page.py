import json

from benchmarks.bench_heads import PAGE, RESULTS, SPECS, cell, page


def test_the_page_is_what_the_results_say():
    assert PAGE.read_text(encoding="utf-8") == page(json.loads(RESULTS.read_text()))


def test_every_preset_has_a_row_or_a_reason():
    results = json.loads(RESULTS.read_text())
    assert all(isinstance(results[spec], str) or len(results[spec]) == 3 for spec in SPECS)


def test_what_is_not_known_is_left_empty():
    assert cell([1.0, 2.0, 3.0]) == "2.00 ± 1.00"
    assert cell([float("nan")] * 3) == ""
