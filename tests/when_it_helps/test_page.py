"""The page is written from results alone."""

import numpy as np
from benchmarks.when_it_helps import page
from benchmarks.when_it_helps.records import Record, save
from benchmarks.when_it_helps.tasks.all_tasks import all_tasks
from benchmarks.when_it_helps.tasks.task import EXPLORATION


def some_records():
    generator = np.random.default_rng(0)
    measures = {
        "operations": 1e6,
        "train_accuracy": 1.0,
        "entropy": 0.5,
        "head_distance": 2.0,
        "head_likeness": 0.1,
    }
    for task in all_tasks().values():
        for attention in task.attentions:
            for seed in (*task.seeds, EXPLORATION):
                better = 0.3 if attention == "bn" else 0.0
                accuracy = 0.5 + better + 0.01 * generator.random()
                entropies = [[0, 0.9], [10, 0.5]]
                yield Record(task.name, "", attention, seed, accuracy, 1.0, measures, entropies)


def written(tmp_path, records):
    save(tmp_path / "results.json", {"cells": [vars(one) for one in records]})
    page.write(tmp_path / "results.json", tmp_path / "page.md")
    return (tmp_path / "page.md").read_text(encoding="utf-8")


def test_differences_that_are_clear_are_bold_and_exploration_does_not_count(tmp_path):
    text = written(tmp_path, some_records())
    (row,) = [line for line in text.splitlines() if line.startswith("| recall, gains | `softmax`")]
    assert row.split("|")[3].strip() == "5"
    rows = [line for line in text.splitlines() if line.startswith("|  | `bn` | 5 |")]
    assert rows
    assert all("**+" in line for line in rows)
    assert (tmp_path / "figures" / page.GAINS).read_text().startswith("<svg")


def test_cells_with_other_settings_are_tried_but_not_final():
    records = list(some_records())[:2]
    other = Record("recall", "epochs=3", "softmax", 0, 0.1, 1.0, {}, ())
    assert other not in page.final_records([*records, other])
