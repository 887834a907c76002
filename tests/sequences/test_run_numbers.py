from __future__ import annotations

import json

from primaldual.sequences.run_numbers import numbers_of


def test_numbers_are_saved_as_they_are(finished_run):
    numbers = numbers_of(finished_run)
    assert json.loads((finished_run.folder.path / "results.json").read_text()) == numbers
    assert [name.rpartition("/")[2] for name in numbers["left_out"]] == ["0.txt"]
    assert numbers["cases"] == {"training": 13, "validation": 2, "test": 4}
    assert numbers["training"]["cases_per_second"] > 0
    assert 0 <= numbers["training"]["loading_share"] <= 1
    assert numbers["most_frequent_class"] >= 0.5
    assert numbers["tokens"]["longest"] <= 30
