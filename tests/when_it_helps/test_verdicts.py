"""Paired differences, and what is said of predictions."""

import pytest
from benchmarks.when_it_helps.predictions import PREDICTIONS, Prediction
from benchmarks.when_it_helps.records import Record
from benchmarks.when_it_helps.tasks.all_tasks import all_tasks
from benchmarks.when_it_helps.verdicts import gain, p_value


def records(task, attention, accuracies):
    return [
        Record(task, "", attention, seed, accuracy, 1.0, {}, ()) for seed, accuracy in enumerate(accuracies)
    ]


SOFTMAX = records("toy", "softmax", [0.5, 0.6, 0.7, 0.8, 0.9])


def test_differences_are_paired_by_seed_not_by_place():
    ours = records("toy", "bn", [0.52, 0.61, 0.73, 0.84, 0.92])
    found = gain([*reversed(ours), *SOFTMAX], "toy", "bn")
    assert found.difference.mean == pytest.approx(0.024)
    assert found.sign == 1


def test_only_common_seeds_count():
    found = gain([*records("toy", "bn", [0.6, 0.7]), *SOFTMAX], "toy", "bn")
    assert found.difference.count == 2
    assert found.sign == 0  # two seeds have no bootstrap interval


def test_a_mixed_difference_has_no_sign():
    found = gain([*records("toy", "bn", [0.6, 0.5, 0.8, 0.7, 0.9]), *SOFTMAX], "toy", "bn")
    assert found.sign == 0


def test_softmax_of_another_task_on_the_same_data_can_be_the_baseline():
    longer = records("toy, twice", "softmax", [0.6, 0.6, 0.8, 0.8, 1.0])
    found = gain([*records("toy", "bn", [0.7, 0.7, 0.9, 0.9, 1.0]), *longer], "toy", "bn", "toy, twice")
    assert found.difference.mean == pytest.approx(0.08)


def test_an_attention_without_runs_has_no_difference():
    assert gain(SOFTMAX, "toy", "sh") is None


def test_equal_accuracies_are_no_evidence():
    same = records("toy", "bn", [0.5, 0.6, 0.7, 0.8, 0.9])
    assert p_value([*same, *SOFTMAX], Prediction("toy", "bn", 1, "")) == 1.0
    assert p_value([*records("toy", "bn", [0.9]), *SOFTMAX], Prediction("toy", "bn", 1, "")) == 1.0


def test_predictions_are_about_tasks_and_attentions_that_are_run():
    tasks = all_tasks()
    for one in PREDICTIONS:
        assert one.attention in tasks[one.task].attentions
        assert one.sign in {1, -1}
