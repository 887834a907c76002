from __future__ import annotations

import os

import pytest
import torch
from tests.experiments.fakes import FakeClassifier, dataset

from primaldual.data import Dataset, load_pair
from primaldual.errors import ArgumentError
from primaldual.experiments.grid import Epoch, Work, run_grid
from primaldual.experiments.results import Result
from primaldual.experiments.settings import Run, attention_classifier

RUNS = [Run("softmax", 0), Run("bn", 0), Run("softmax", 1)]


def _work(tmp_path, **options):
    return Work(dataset(), dataset(), options, FakeClassifier, tmp_path / "models")


def test_every_epoch_and_result_is_reported_in_order(tmp_path):
    events = []
    run_grid(RUNS, _work(tmp_path), 1, events.append)
    assert [type(event) for event in events] == [Epoch, Epoch, Epoch, Result] * 3
    assert [event.run for event in events if isinstance(event, Result)] == RUNS
    assert [event.entry["epoch"] for event in events[:3]] == [1, 2, 3]
    assert sorted(path.name for path in (tmp_path / "models").iterdir()) == [
        "bn-seed0",
        "softmax-seed0",
        "softmax-seed1",
    ]


def test_a_left_over_model_folder_of_a_broken_run_is_replaced(tmp_path):
    (tmp_path / "models" / "bn-seed0").mkdir(parents=True)
    (tmp_path / "models" / "bn-seed0" / "half").write_text("written")
    run_grid([Run("bn", 0)], _work(tmp_path), 1, lambda _: None)
    assert [path.name for path in (tmp_path / "models" / "bn-seed0").iterdir()] == ["config.json"]


def test_runs_use_one_thread_and_give_it_back(tmp_path):
    before = torch.get_num_threads()
    seen = []
    run_grid(RUNS[:1], _work(tmp_path), 1, lambda _: seen.append(torch.get_num_threads()))
    assert set(seen) == {1}
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_refused_run_stops_the_grid_with_its_own_error(tmp_path, jobs):
    with pytest.raises(ArgumentError, match="heads is 3"):
        run_grid(RUNS, _work(tmp_path, refuse="bn"), jobs, lambda _: None)


def test_an_unforeseen_failure_of_a_worker_names_run_and_cause(tmp_path):
    with pytest.raises(RuntimeError, match=r"(?s)run bn, seed 0 failed.*ZeroDivisionError: unforeseen"):
        run_grid(RUNS, _work(tmp_path, **{"break": "bn"}), 2, lambda _: None)


class _Deadly:
    """Ends the process that unpickles it."""

    def __reduce__(self):
        return os._exit, (3,)


def test_a_worker_that_dies_is_noticed(tmp_path):
    work = Work(dataset(4000), dataset(), {}, _Deadly(), tmp_path / "models")
    with pytest.raises(RuntimeError, match="exit code 3"):
        run_grid(RUNS, work, 2, lambda _: None)


def test_processes_do_not_change_results(tmp_path):
    train, test = load_pair("BasicMotions")
    short = [Dataset(part.name, part.X[:, :, :20], part.y, "") for part in (train, test)]
    options = {"epochs": 2, "embed_dim": 8, "num_heads": 2, "num_layers": 1, "feedforward_dim": 8}
    runs = [Run("softmax", 0), Run("bn", 1)]
    outcomes = []
    for jobs in (1, 2):
        results = {}
        work = Work(*short, options, attention_classifier, tmp_path / str(jobs))
        run_grid(
            runs,
            work,
            jobs,
            lambda event, results=results: (
                results.update({event.run: event}) if isinstance(event, Result) else None
            ),
        )
        losses = {run: [entry["train_loss"] for entry in result.history] for run, result in results.items()}
        outcomes.append((losses, {run: result.accuracy for run, result in results.items()}))
    assert outcomes[0] == outcomes[1]
    assert set(outcomes[0][1]) == set(runs)
