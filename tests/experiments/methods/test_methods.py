from __future__ import annotations

import pickle

import numpy as np
import pytest

from primaldual.data.dataset import Dataset
from primaldual.errors import ArgumentError, SpecError
from primaldual.experiments.cell import Cell
from primaldual.experiments.execution import Job, execute
from primaldual.experiments.methods import OTHERS, AttentionMethod, method_named

TINY = {"epochs": 1, "embed_dim": 8, "num_heads": 2, "num_layers": 1, "feedforward_dim": 8}


def _part(seed, unequal=False):
    generator = np.random.default_rng(seed)
    labels = np.array(["high", "low"] * 8)
    series = np.sin(np.arange(12) * np.where(labels == "high", 2.0, 0.4)[:, None])[:, None]
    series = series + generator.normal(0, 0.1, series.shape)
    cases = [one[:, : 8 + place % 4] for place, one in enumerate(series)] if unequal else series
    return Dataset("waves", cases, labels, "made up")


@pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning")  # QUANT mixes torch and NumPy
@pytest.mark.filterwarnings("ignore:.*unsafe cast")  # numba compiles 1-NN's distance
@pytest.mark.parametrize("name", ["AttentionRidge", "QUANT", "1-NN"])
@pytest.mark.parametrize("unequal", [False, True])
def test_classifiers_by_name_learn_and_repeat(name, unequal):
    train, test = _part(0, unequal), _part(1, unequal)
    cell = Cell("waves", "12ab", method_named(name), 0)
    job = Job(cell, train, test, None, "")
    first, second = execute(job, lambda _: None), execute(job, lambda _: None)
    assert first.accuracy > 0.8
    assert (first.confusion, first.best_epoch, first.history) == (second.confusion, None, [])
    assert sum(map(sum, first.confusion)) == 16
    assert len(first.wrong) == round(16 * (1 - first.accuracy))
    assert first.labels == ["high", "low"]


def test_an_attention_gives_epochs_operations_and_heads():
    cell = Cell("waves", "12ab", AttentionMethod("bn", TINY), 0)
    epochs = []
    found = execute(Job(cell, _part(0), _part(1), None, ""), epochs.append)
    assert [epoch["epoch"] for epoch in epochs] == [1]
    assert found.best_epoch == 1
    assert set(found.measures) == {"operations", "parameters", "head_distance"}


@pytest.mark.parametrize("name", OTHERS)
def test_configurations_are_whole_and_pickle(name):
    method = method_named(name)
    again = pickle.loads(pickle.dumps(method))
    assert again == method
    assert again.parameters() == method.parameters()
    assert "random_state" not in method.parameters()
    assert Cell("waves", "12ab", again, 0).key == Cell("waves", "12ab", method, 0).key
    assert ("aeon" in method.code()) == (not OTHERS[name].ours)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("softmax", ["softmax attention"]),
        ("bn+sh", ["Attention-BN", "Attention-SH"]),
        ("window(8)|sh", ["positions away", "SH"]),
    ],
)
def test_sentences_say_what_an_attention_is(spec, words):
    method = AttentionMethod(spec)
    for word in words:
        assert word in method.sentence
    assert method.equation.startswith("primal")


def test_options_count():
    assert method_named("1-NN").tuned({"distance": "euclidean"}).parameters()["distance"] == "euclidean"
    bn = AttentionMethod("bn", TINY).tuned({"attention": "softmax", "epochs": 2})
    assert (bn.label, bn.parameters()["epochs"], bn.parameters()["embed_dim"]) == ("softmax", 2, 8)


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: method_named("QANT"), ArgumentError, "did you mean QUANT"),
        (lambda: method_named("softmax"), ArgumentError, "belong under attentions"),
        (lambda: method_named("QUANT", {"depth": 1}), ArgumentError, "QUANT has no argument 'depth'"),
        (lambda: AttentionMethod("bn", {"epoch": 1}), ArgumentError, "did you mean epochs"),
        (lambda: AttentionMethod("nonsense"), SpecError, "nonsense"),
    ],
)
def test_what_is_unknown_is_refused(build, error, message):
    with pytest.raises(error, match=message):
        build()
