from __future__ import annotations

import numpy as np
import pytest
from tests.experiments.fakes import FakeSettings

from primaldual.errors import ArgumentError, DataError, PrimalDualError
from primaldual.experiments import Settings, open_comparison
from primaldual.experiments.store import Result


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "toy.npz"
    generator = np.random.default_rng(0)
    np.savez(path, X=generator.normal(size=(20, 2, 6)), y=["a", "b"] * 10)
    return str(path)


def _open(source, folder, fresh=False, kind=FakeSettings, **changes):
    settings = {"attentions": ("softmax", "bn"), "seeds": (0, 1), **changes}
    return open_comparison(kind(source, **settings), folder, fresh)


def _names(runs):
    return [run.title.partition(", ")[2] for run in runs]


class _CtrlC:
    """Stops after some results, as a user would."""

    def __init__(self, results):
        self.results = results

    def __call__(self, event):
        self.results -= isinstance(event, Result)
        if self.results == 0:
            raise KeyboardInterrupt


def test_interrupted_comparison_keeps_finished_runs_and_resumes_with_the_missing(source, tmp_path):
    out = tmp_path / "out"
    first = _open(source, out)
    with pytest.raises(KeyboardInterrupt):
        first.execute(1, _CtrlC(3))
    again = _open(source, out)
    assert _names(again.finished) == ["softmax, seed 0", "bn, seed 0", "softmax, seed 1"]
    assert _names(again.missing) == ["bn, seed 1"]
    done = []
    again.execute(1, lambda event: done.append(event) if isinstance(event, Result) else None)
    assert _names(done) == ["bn, seed 1"]
    assert _open(source, out).missing == []


def test_results_do_not_depend_on_the_interruption(source, tmp_path):
    whole, parts = _open(source, tmp_path / "whole"), _open(source, tmp_path / "parts")
    whole.execute(1, lambda _: None)
    with pytest.raises(KeyboardInterrupt):
        parts.execute(1, _CtrlC(2))
    parts.execute(1, lambda _: None)
    accuracies = [{one.key: one.accuracy for one in each.finished} for each in (whole, parts)]
    assert accuracies[0] == accuracies[1]


def test_more_seeds_and_attentions_extend_a_folder(source, tmp_path):
    _open(source, tmp_path / "out").execute(1, lambda _: None)
    more = _open(source, tmp_path / "out", attentions=("softmax", "bn", "sh"), seeds=(0, 1, 2))
    assert len(more.finished) == 4
    assert len(more.missing) == 5


@pytest.mark.parametrize("changes", [{"options": {"epochs": 7}}, {"options": {"heads": 2}}])
def test_other_options_are_refused_unless_fresh(source, tmp_path, changes):
    out = tmp_path / "out"
    _open(source, out).execute(1, lambda _: None)
    with pytest.raises(ArgumentError, match="other settings"):
        _open(source, out, **changes)
    assert len(_open(source, out, fresh=True, **changes).missing) == 4


def test_other_code_is_refused_unless_fresh(source, tmp_path, monkeypatch):
    _open(source, tmp_path / "out").execute(1, lambda _: None)
    monkeypatch.setattr("tests.experiments.fakes.FakeMethod.code", lambda self: "fake 2")
    with pytest.raises(ArgumentError, match="code fake 1 there, fake 2 now"):
        _open(source, tmp_path / "out")
    assert len(_open(source, tmp_path / "out", fresh=True).missing) == 4


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [("refuse", ArgumentError, "heads is 3"), ("break", RuntimeError, "(?s)bn, seed 0 failed.*Traceback")],
)
def test_a_failed_run_is_told_when_the_others_are_done_and_tried_again(source, tmp_path, how, error, message):
    comparison = _open(source, tmp_path / "out", options={how: "bn"})
    for _ in range(2):
        with pytest.raises(error, match=message):
            comparison.execute(1, lambda _: None)
        assert _names(comparison.finished) == ["softmax, seed 0", "softmax, seed 1"]


def test_other_data_under_the_same_name_is_refused(source, tmp_path):
    out = tmp_path / "out"
    _open(source, out).execute(1, lambda _: None)
    np.savez(source, X=np.zeros((20, 2, 6)), y=["a", "b"] * 10)
    with pytest.raises(ArgumentError, match="data toy"):
        _open(source, out)


BAD = {
    "scales": (
        {"attentions": ("softmax", "sh(1,2)")},
        "scales must be one integer, or one for each of the 4 heads",
    ),
    "heads": ({"options": {"num_heads": 7}}, "embed_dim must be a multiple"),
    "epochs": ({"options": {"epochs": 0}}, "epochs must be"),
    "spec": ({"attentions": ("softmax", "nonsense")}, "unknown part"),
    "twice": ({"attentions": ("bn", "bn")}, "attentions must differ"),
    "none": ({"attentions": ()}, "attentions is empty"),
    "no seeds": ({"seeds": ()}, "seeds is empty"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_settings_fail_before_anything_is_trained_or_written(source, tmp_path, name):
    changes, message = BAD[name]
    with pytest.raises(PrimalDualError, match=message):
        _open(source, tmp_path / "out", kind=Settings, **changes)
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []


def test_an_unwritable_folder_fails_before_the_data_are_read(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ArgumentError, match="cannot be written"):
        _open("no such data", tmp_path / "file")


def test_summaries_need_every_run(source, tmp_path):
    comparison = _open(source, tmp_path / "out")
    with pytest.raises(DataError, match="4 of 4 runs are not finished"):
        comparison.summaries()
