"""docs/language.md and its figure are what the generator writes from the committed results."""

import json

from benchmarks.bench_cache_halving import BASE, RESULTS, variants
from benchmarks.cache_halving_page import DOCS, NAMES, Results, figure, page

FOUND = json.loads(RESULTS.read_text(encoding="utf-8"))


def test_the_committed_page_is_that_of_the_results():
    assert (DOCS / "language.md").read_text(encoding="utf-8") == page(FOUND)


def test_the_figure_shows_every_way():
    drawn = figure(FOUND)
    assert all(
        name in drawn
        for name in (
            "sh(1,2,4,4)",
            "sh(2,2,2,2)",
            f"window({FOUND['base']['context'] // 2})",
            "grouped queries",
        )
    )


def test_a_seed_counts_when_all_its_models_are_there():
    assert set(NAMES) == {BASE, *variants(128)}
    part = {**FOUND, "rows": FOUND["rows"][: len(NAMES) - 1]}
    assert Results(part).seeds == []
    assert Results({**FOUND, "rows": FOUND["rows"][: len(NAMES)]}).seeds == [0]
