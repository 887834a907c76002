import random
import re

import numpy as np
import pytest
import torch

from primaldual.errors import ArgumentError, DataError, ShapeError, SpecError
from primaldual.estimators import AttentionClassifier
from primaldual.primal.presets import preset
from primaldual.training import Callback
from tests.estimators.helpers import classifier, labels, ragged, series

SPECS = ["softmax", "bn", "sh(1,2)", "bn+sh(1,2)", "linear"]


def separable(cases=24):
    y = np.arange(cases) % 2
    return series(cases) + 2.0 * y[:, None, None], np.array(["low", "high"])[y]


@pytest.mark.parametrize("attention", [*SPECS, preset("bn(beta=0.5)")])
@pytest.mark.parametrize("head", ["mean", "flatten"])
def test_learns_classes_that_differ(attention, head):
    X, y = separable()
    fitted = classifier(attention=attention, head=head, epochs=15, learning_rate=1e-2, optimizer="adamw").fit(
        X, y
    )
    assert fitted.score(X, y) > 0.9
    assert fitted.classes_.tolist() == ["high", "low"]


def test_probabilities_agree_with_predictions():
    X, y = series(), labels()
    fitted = classifier().fit(X, y)
    probabilities = fitted.predict_proba(X)
    assert probabilities.sum(1) == pytest.approx(np.ones(24))
    assert (fitted.classes_[probabilities.argmax(1)] == fitted.predict(X)).all()


@pytest.mark.parametrize("spec", SPECS)
def test_a_series_is_predicted_alone_as_in_company_and_in_any_order(spec):
    X, y = ragged(), labels()
    fitted = classifier(attention=spec).fit(X, y)
    together = fitted.predict_proba(X)
    alone = np.concatenate([fitted.predict_proba([one]) for one in X])
    np.testing.assert_allclose(alone, together, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(fitted.predict_proba(X[::-1])[::-1], together, rtol=1e-4, atol=1e-5)


def test_the_same_seed_gives_the_same_model_and_the_global_generators_are_untouched():
    X, y = ragged(), labels()
    before = (torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate())
    probabilities = [classifier(random_state=seed).fit(X, y).predict_proba(X) for seed in (3, 3, 4)]
    classifier(random_state=None).fit(X, y)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1:] == (np.random.get_state()[1].tolist(), random.getstate())
    assert (probabilities[0] == probabilities[1]).all()
    assert (probabilities[0] != probabilities[2]).any()


def test_a_random_state_object_is_drawn_from():
    X, y = series(), labels()
    first, second = (
        classifier(random_state=np.random.RandomState(0)).fit(X, y).predict_proba(X) for _ in range(2)
    )
    assert (first == second).all()


def test_missing_values_are_filled_not_ignored():
    X, y = series(), labels()
    fitted = classifier().fit(X, y)
    with_gap = X.copy()
    with_gap[0, 0, 4] = np.nan
    filled = X.copy()
    filled[0, 0, 4] = (X[0, 0, 3] + X[0, 0, 5]) / 2
    np.testing.assert_allclose(fitted.predict_proba(with_gap), fitted.predict_proba(filled), rtol=1e-5)
    assert np.isfinite(fitted.predict_proba(np.full((1, 2, 10), np.nan))).all()


def test_series_longer_than_in_training_are_cut():
    fitted = classifier().fit(series(length=10), labels())
    longer = series(length=14, seed=1)
    np.testing.assert_allclose(fitted.predict_proba(longer), fitted.predict_proba(longer[:, :, :10]))


def test_prepare_gives_what_the_model_gets():
    X, y = ragged(), labels()
    fitted = classifier().fit(X, y)
    values, padding = fitted.prepare(X)
    assert values.dtype == torch.float32
    assert padding.dtype == torch.bool
    assert (~padding).sum(1).tolist() == [min(one.shape[1], fitted.model_.length) for one in X]
    with torch.no_grad():
        logits = fitted.model_(values, padding)
    np.testing.assert_allclose(logits.softmax(1).numpy(), fitted.predict_proba(X), rtol=1e-4, atol=1e-6)


def test_normalisation_knows_only_the_training_part():
    X, y = series(40), labels(39)
    y = np.append(y, "left")
    fitted = classifier(validation_fraction=0.5, epochs=1).fit(X, y)
    assert fitted._preparation.mean != pytest.approx(X.mean((0, 2)), abs=1e-6)
    everything = classifier(validation_fraction=0.0, epochs=1).fit(X, y)
    assert everything._preparation.mean == pytest.approx(X.mean((0, 2)))


def test_history_has_one_record_per_epoch():
    fitted = classifier(validation_fraction=0.25).fit(series(), labels())
    assert [record["epoch"] for record in fitted.history_] == [1, 2, 3]
    assert set(fitted.history_[0]) == {
        "epoch",
        "train_loss",
        "validation_loss",
        "validation_metric",
        "learning_rate",
        "seconds",
        "training_seconds",
        "loading_seconds",
    }
    assert 1 <= fitted.best_epoch_ <= 3


def test_tiny_data_and_lonely_classes_train_without_validation():
    fitted = classifier().fit(series(3), labels(3))
    assert fitted.history_[-1]["validation_loss"] is None
    assert fitted.predict(series(3)).shape == (3,)


def test_class_weights_shift_the_predictions():
    X = series(40)
    y = np.array(["rare"] * 4 + ["common"] * 36)
    settings = {"epochs": 5, "validation_fraction": 0.0}
    plain = classifier(**settings).fit(X, y).predict_proba(X)[:, 1].mean()
    balanced = classifier(class_weight="balanced", **settings).fit(X, y).predict_proba(X)[:, 1].mean()
    heavy = classifier(class_weight={"rare": 100.0}, **settings).fit(X, y).predict_proba(X)[:, 1].mean()
    assert plain < balanced < heavy


def test_labels_may_be_a_list_integers_or_booleans():
    for y in (["a", "b", "c"] * 8, np.arange(24) % 3 + 5, np.arange(24) % 2 == 0):
        assert set(classifier().fit(series(), y).predict(series())) <= set(y)


def test_parameters_may_be_numpy_numbers(tmp_path):
    numbers = {"embed_dim": np.int64(8), "batch_size": np.int64(8), "dropout": np.float32(0.1)}
    fitted = classifier(**numbers, epochs=np.int64(1)).fit(series(), labels())
    fitted.save(tmp_path / "model")
    assert AttentionClassifier.load(tmp_path / "model").batch_size == 8


def test_callbacks_watch_and_stop():
    class StopAtTwo(Callback):
        def on_epoch_end(self, state):
            if state.epoch == 2:
                state.stop()

    assert len(classifier(callbacks=[StopAtTwo()]).fit(series(), labels()).history_) == 2


def test_progress_shows_only_when_asked(capsys, monkeypatch):
    monkeypatch.setattr("primaldual.training.progress.DELAY", 0.0)
    classifier().fit(series(), labels())
    assert capsys.readouterr().err == ""
    loud = classifier(verbose=1).fit(series(), labels())
    assert "3/3" in capsys.readouterr().err
    loud.predict(series())
    assert "predicting" in capsys.readouterr().err


def test_a_fit_that_was_interrupted_goes_on_from_its_checkpoint(tmp_path):
    class Interrupt(Callback):
        def on_epoch_end(self, state):
            if state.epoch == 2:
                raise KeyboardInterrupt

    X, y = series(), labels()
    with pytest.raises(KeyboardInterrupt):
        classifier(callbacks=[Interrupt()], checkpoint_dir=tmp_path).fit(X, y)
    assert len(list(tmp_path.glob("*/epoch-000001"))) == 1
    resumed = classifier(checkpoint_dir=tmp_path).fit(X, y)
    assert (resumed.predict_proba(X) == classifier().fit(X, y).predict_proba(X)).all()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"attention": "sofmax"}, SpecError, "sofmax"),
        ({"attention": "sh(1,2,4)"}, ArgumentError, "3"),
        ({"embed_dim": 9}, ArgumentError, "embed_dim must be a multiple of num_heads; got 9 and 2"),
        ({"head": "last"}, ArgumentError, "head must be one of mean, flatten; got 'last'"),
        ({"epochs": 0}, ArgumentError, "epochs must be"),
        (
            {"optimizer": "sgd"},
            ArgumentError,
            "optimizer must be one of radam, adamw, adamw_matrices; got 'sgd'",
        ),
        ({"validation_fraction": 1.5}, ArgumentError, r"validation_fraction must lie in \[0, 1\); got 1.5"),
        ({"class_weight": {"down": 1}}, ArgumentError, "class_weight names 'down'"),
        ({"label_smoothing": 2}, ArgumentError, "label_smoothing"),
        ({"callbacks": [print]}, ArgumentError, "callbacks must hold Callback objects"),
        ({"callbacks": 3}, ArgumentError, "callbacks must hold Callback objects; got 3"),
        ({"dropout": "some"}, ArgumentError, r"dropout must lie in \[0, 1\); got 'some'"),
        ({"random_state": -1}, ArgumentError, "random_state must be"),
    ],
)
def test_bad_parameters_are_named(changes, error, message):
    with pytest.raises(error, match=message) as caught:
        classifier(**changes).fit(series(), labels())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("X", "y", "error", "message"),
    [
        (series(2), np.array(["a", "a"]), DataError, "at least two classes; every label is .*a"),
        (series(2), np.array([1.0, np.nan]), DataError, "got nan at position 1"),
        (series(2), labels(3), ShapeError, "got 2 and 3"),
        ([], np.array([]), DataError, "X is empty"),
        ([np.ones((1, 3)), np.ones((1, 0))], np.array([0, 1]), DataError, r"X\[1\] has no values"),
    ],
)
def test_bad_data_is_named(X, y, error, message):
    with pytest.raises(error, match=message):
        classifier().fit(X, y)


def test_another_number_of_channels_than_in_fit_is_refused():
    fitted = classifier().fit(series(channels=2), labels())
    with pytest.raises(ShapeError, match="X must have 2 channels, as in fit; got 3"):
        fitted.predict(series(channels=3))


def test_the_representation_shows_what_was_changed():
    assert re.sub(r"\s", "", repr(AttentionClassifier("bn", epochs=5))) == (
        "AttentionClassifier(attention='bn',epochs=5)"
    )
