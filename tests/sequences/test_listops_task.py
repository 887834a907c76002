from __future__ import annotations

import numpy as np
import pytest

from primaldual.errors import DataError
from primaldual.sequences import listops_task
from primaldual.sequences.listops import ListOps
from primaldual.sequences.listops_task import generated, listops_parts

SMALL = ListOps(max_length=64)
COUNTS = {"training": 50, "validation": 10, "test": 10}


def test_trees_are_distinct_and_written_once(tmp_path, monkeypatch):
    parts = listops_parts(tmp_path, SMALL, 0, COUNTS)
    assert [len(part) for part in (parts.training, parts.validation, parts.test)] == [50, 10, 10]
    every = [
        part.sequence(case, 0).tobytes()
        for part in (parts.training, parts.validation, parts.test)
        for case in range(len(part))
    ]
    assert len(set(every)) == 70
    monkeypatch.setattr(listops_task, "generated", lambda *given: None)
    again = listops_parts(tmp_path, SMALL, 0, COUNTS)
    assert isinstance(again.training.tokens, np.memmap)
    assert again.training.digest == parts.training.digest


def test_another_seed_gives_other_trees():
    first, second = (generated(SMALL, seed, COUNTS) for seed in (0, 1))
    assert not np.array_equal(first.tokens[:100], second.tokens[:100])


def test_too_few_trees_are_one_clear_error(monkeypatch):
    monkeypatch.setattr(listops_task, "_FRUITLESS", 1)
    rules = ListOps(max_length=16, max_depth=2, max_arguments=3)
    with pytest.raises(
        DataError, match=r"listops: \d+ distinct trees were found between 4 and 16 tokens long; 10000 are n"
    ):
        generated(rules, 0, {"training": 10**4, "test": 0})
