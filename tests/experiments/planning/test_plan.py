from __future__ import annotations

import numpy as np
import pytest

from primaldual.errors import PrimalDualError
from primaldual.experiments.places import Here
from primaldual.experiments.planning import Grid, open_grid
from primaldual.experiments.store import Result
from primaldual.experiments.tuning import Tuning

TINY = {"epochs": 1, "embed_dim": 8, "num_heads": 2, "num_layers": 1, "feedforward_dim": 8}


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "waves.npz"
    generator = np.random.default_rng(0)
    labels = np.array(["high", "low"] * 12)
    series = np.sin(np.arange(12) * np.where(labels == "high", 2.0, 0.4)[:, None])[:, None]
    np.savez(path, X=series + generator.normal(0, 0.1, series.shape), y=labels)
    return str(path)


def _grid(source, **changes):
    given = {"attentions": ("softmax", "bn"), "methods": (), "seeds": (0, 1), "settings": {"default": TINY}}
    return Grid((source,), **{**given, **changes})


def test_cells_stand_seed_by_seed_and_a_wider_grid_does_what_is_missing(source, tmp_path):
    opened = open_grid(_grid(source), tmp_path / "out")
    titles = [cell.title for cell in opened.cells]
    assert titles == [f"waves, {name}, seed {seed}" for seed in (0, 1) for name in ("softmax", "bn")]
    opened.execute(Here(), lambda _: None)
    assert opened.missing == []
    wider = open_grid(_grid(source, seeds=(0, 1, 2), methods=("AttentionRidge",)), tmp_path / "out")
    assert len(wider.finished) == 4
    assert [cell.title for cell in wider.missing if cell.seed < 2] == [
        "waves, AttentionRidge, seed 0",
        "waves, AttentionRidge, seed 1",
    ]


def test_cells_differ_by_settings_data_protocol_threads_and_code(source, tmp_path, monkeypatch):
    def keys(**changes):
        return {cell.key for cell in open_grid(_grid(source, **changes), tmp_path / "out").cells}

    found = [
        keys(),
        keys(settings={"default": {**TINY, "epochs": 2}}),
        keys(protocol="paper"),
        keys(threads=2),
    ]
    monkeypatch.setattr("primaldual.experiments.methods.method.code_version", lambda *_: "other")
    found.append(keys())
    monkeypatch.undo()
    assert keys() == found[0]
    np.savez(source, X=np.zeros((20, 1, 6)), y=["a", "b"] * 10)
    found.append(keys())
    assert len(set().union(*found)) == 4 * 6


def test_all_absent_data_sets_are_named_before_anything_runs(source, tmp_path):
    grid = Grid(("none.csv", source, "NoSuchSet"), methods=())
    with pytest.raises(PrimalDualError, match=r"2 of 3 data sets cannot be used.*none.csv.*NoSuchSet"):
        open_grid(grid, tmp_path / "out")
    assert not (tmp_path / "out").exists()


BAD = {
    "scales": ({"attentions": ("sh(1,2)",), "settings": {"a": {}}}, r"waves, sh\(1,2\) \[a\]: scales"),
    "range": ({"settings": {"default": {"epochs": 0}}}, "waves, softmax: epochs"),
    "same names": ({}, "has the name of another one"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_does_not_fit_is_refused_before_anything_runs(source, tmp_path, name):
    changes, message = BAD[name]
    grid = _grid(source, **changes)
    if name == "same names":
        other = tmp_path / "other" / "waves.npz"
        other.parent.mkdir()
        np.savez(other, X=np.zeros((20, 1, 6)), y=["a", "b"] * 10)
        grid = Grid((source, str(other)), methods=())
    with pytest.raises(PrimalDualError, match=message):
        open_grid(grid, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_failures_are_kept_until_they_are_to_be_tried_again(source, tmp_path, monkeypatch):
    def broken(self, train, seed, threads, hear, chooser=None):
        raise ZeroDivisionError("broken")

    monkeypatch.setattr("primaldual.experiments.methods.AttentionMethod.fit", broken)
    grid = _grid(source, seeds=(0,))
    opened = open_grid(grid, tmp_path / "out")
    opened.execute(Here(), lambda _: None)
    assert [failure.kind for failure in opened.failed] == ["error", "error"]
    assert opened.missing == []
    monkeypatch.undo()
    assert open_grid(grid, tmp_path / "out").missing == []
    again = open_grid(grid, tmp_path / "out", retry_failed=True)
    events = []
    again.execute(Here(), events.append)
    assert len([event for event in events if isinstance(event, Result)]) == 2
    assert again.failed == []


def test_the_paper_protocol_keeps_the_best_test_epoch_and_says_so(source, tmp_path):
    options = {**TINY, "epochs": 6, "learning_rate": 0.02}
    opened = open_grid(
        _grid(source, attentions=("bn",), protocol="paper", settings={"default": options}), tmp_path / "out"
    )
    opened.execute(Here(), lambda _: None)
    for result in opened.finished:
        assert result.optimistic
        assert result.config["protocol"]["epoch chosen by"].endswith("test part")
        assert 1 <= result.best_epoch <= 6
        assert len(result.history) == 6
        assert result.history[0]["validation_metric"] is None


def test_tuning_searches_inside_the_train_part(source, tmp_path):
    space = {"attention": ["bn", "softmax"], "learning_rate": {"low": 1e-3, "high": 1e-2, "log": True}}
    grid = _grid(source, attentions=("bn",), seeds=(0,), tuning=Tuning(space, trials=2, folds=2))
    opened = open_grid(grid, tmp_path / "out")
    opened.execute(Here(), lambda _: None)
    (result,) = opened.finished
    assert set(result.chosen) == {"attention", "learning_rate"}
    assert 1e-3 <= result.chosen["learning_rate"] <= 1e-2
    assert result.config["protocol"]["search"] == "2 settings, 2 folds of the train part"


def test_a_search_needs_a_case_of_every_class_in_every_fold(source, tmp_path):
    grid = _grid(source, tuning=Tuning({"num_layers": [1, 2]}, folds=20))
    with pytest.raises(PrimalDualError, match="fewer than the 20 folds"):
        open_grid(grid, tmp_path / "out")
