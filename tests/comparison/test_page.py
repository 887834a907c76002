"""docs/comparison.md and its figure are what the committed results give."""

import pytest
from benchmarks.comparison.page import DOCS, FIGURE, figure, page, write
from benchmarks.comparison.predictions import PREDICTIONS, Prediction
from benchmarks.comparison.results import (
    EXPLORATION,
    REFERENCE,
    RESULTS,
    by_seed,
    cell,
    cost_key,
    difference,
    explored,
)
from benchmarks.comparison.tables import costs, outcome
from benchmarks.comparison.tasks import TASKS
from benchmarks.kept_cells import read

from primaldual.experiments.statistics import Difference

CIFAR = TASKS["CIFAR-10"]
HEADS = {"entropy": 0.5, "head_distance": 1.0, "head_likeness": 0.25}


def results(attentions, seeds=range(3)):
    """Scores by attention, a tenth of a point more for every seed."""
    return {
        cell(CIFAR.name, attention, CIFAR.learning_rate, seed): {"score": score + seed / 1000, **HEADS}
        for attention, score in attentions.items()
        for seed in seeds
    }


def test_the_committed_page_is_that_of_the_results():
    found = read(RESULTS)
    assert (DOCS / "comparison.md").read_text(encoding="utf-8") == page(found)
    assert (DOCS / "figures" / FIGURE).read_text(encoding="utf-8") == figure(found)


def test_outcomes_and_tables_follow_from_intervals(tmp_path):
    found = results({"softmax": 0.5, "bn": 0.6, "sh(1,1,2,4)": 0.5})
    found[REFERENCE] = {"class": 0.1, "first word": 0.3}
    found[cost_key(CIFAR.name)] = {
        "softmax": {"time": [1, 1, 1], "bytes": 2048},
        "bn": {"time": [1.1, 1.2, 1.3], "bytes": 3072},
    }
    write(found, tmp_path)
    text = (tmp_path / "comparison.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| CIFAR-10 | `")]
    assert rows[0].endswith("| **+10.0 (+10.0 to +10.0)** | failed: above |")
    assert rows[1].endswith("| 0.0 (0.0 to 0.0) | held |")
    assert rows[2].endswith("|  | not run |")
    assert "| CIFAR-10, accuracy, % | `softmax` | 3 | 50.1 ± 0.1 |  | 0.50 | 1.00 | 0.25 |" in text
    assert "|  | `bn` | 3 | 60.1 ± 0.1 | **+10.0 (+10.0 to +10.0)** | 0.50 | 1.00 | 0.25 |" in text
    assert "| `softmax` | 1.00 (2.0 KiB) |" in text
    assert "| `bn` | 1.50 |" in text
    assert "| `bn` | 1.20 (1.10–1.30) |" in costs(found, "time")
    assert "bn +10.00" in (tmp_path / "figures" / FIGURE).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("sign", "low", "high", "came"),
    [
        (1, 0.1, 0.2, "held"),
        (-1, -0.2, -0.1, "held"),
        (0, -0.1, 0.1, "held"),
        (1, -0.1, 0.2, "failed: no clear difference"),
        (0, 0.1, 0.2, "failed: above"),
        (1, -0.2, -0.1, "failed: below"),
    ],
)
def test_a_prediction_holds_where_the_interval_says_so(sign, low, high, came):
    prediction = Prediction("CIFAR-10", "bn", sign, "")
    assert outcome(prediction, Difference((low + high) / 2, low, high, 3)) == came


def test_differences_are_paired_and_exploration_does_not_count():
    found = results({"softmax": 0.5}, (0, 1)) | results({"bn": 0.6}, (1, 2, EXPLORATION))
    assert by_seed(found, CIFAR, "bn") == pytest.approx({1: 60.1, 2: 60.2})
    assert difference(found, CIFAR, "bn") is None
    assert explored(results({"softmax": 0.5}, (0, EXPLORATION)), CIFAR) == pytest.approx(
        {CIFAR.learning_rate: 60.0}
    )


def test_predictions_name_what_is_run():
    assert all(one.attention in TASKS[one.task].attentions for one in PREDICTIONS)
    assert all(task.attentions[0] == "softmax" for task in TASKS.values())


def test_the_learning_rate_is_the_one_that_suits_softmax():
    found = read(RESULTS)
    for task in TASKS.values():
        tried = explored(found, task)
        assert tried[task.learning_rate] == max(tried.values())
