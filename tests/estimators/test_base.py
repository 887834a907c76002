import copy
import io
import pickle

import joblib
import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError

from primaldual.errors import ArgumentError, DataError, ShapeError
from primaldual.training import Callback
from tests.estimators.helpers import classifier, labels, ragged, regressor, series


def joblib_copy(estimator):
    buffer = io.BytesIO()
    joblib.dump(estimator, buffer)
    buffer.seek(0)
    return joblib.load(buffer)


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one)), joblib_copy])
@pytest.mark.parametrize("attention", ["softmax", "bn(learnable=true)+sh(1,2)"])
def test_copies_predict_the_same(clone, attention):
    X, y = ragged(), labels()
    fitted = classifier(attention=attention).fit(X, y)
    assert (clone(fitted).predict_proba(X) == fitted.predict_proba(X)).all()
    unfitted = clone(classifier(attention=attention))
    assert (unfitted.fit(X, y).predict_proba(X) == fitted.predict_proba(X)).all()


def test_a_fitted_state_holds_no_tensor():
    state = regressor().fit(series(), np.arange(24.0)).__getstate__()

    def tensors(value):
        if isinstance(value, dict):
            return [found for entry in value.values() for found in tensors(entry)]
        return [value] if isinstance(value, torch.Tensor | torch.nn.Module) else []

    assert tensors(state) == []
    assert state["_weights"]["positions"].dtype == np.float32


def test_a_pickle_survives_parameters_that_were_changed_after_fitting():
    X, y = series(), labels()
    fitted = classifier().fit(X, y)
    expected = fitted.predict_proba(X)
    fitted.set_params(embed_dim=16, attention="bn")
    assert (pickle.loads(pickle.dumps(fitted)).predict_proba(X) == expected).all()


@pytest.mark.parametrize("method", ["prepare", "save"])
def test_nothing_works_before_fit(method):
    with pytest.raises(NotFittedError):
        getattr(classifier(), method)(series())


def test_fitting_again_starts_anew():
    X, y = series(), labels()
    twice = classifier().fit(ragged(channels=3), labels()).fit(X, y)
    assert (twice.predict_proba(X) == classifier().fit(X, y).predict_proba(X)).all()


def test_constant_series_raise_no_warning():
    X = np.ones((24, 2, 10))
    assert classifier().fit(X, labels()).predict(X).shape == (24,)


def test_validation_cases_of_ones_own_are_those_that_epochs_are_compared_by():
    X, y = series(), labels()
    fitted = classifier(epochs=4).fit(X, y, validation=(series(9, seed=1), labels(9)))
    best = fitted.history_[fitted.best_epoch_ - 1]["validation_metric"]
    assert fitted.score(series(9, seed=1), labels(9)) == pytest.approx(best)
    same = classifier(epochs=4, validation_fraction=0.5).fit(X, y, validation=(series(9, seed=1), labels(9)))
    assert (same.predict_proba(X) == fitted.predict_proba(X)).all()
    numbers = regressor(epochs=4).fit(X, np.arange(24.0), validation=(series(9, seed=1), np.arange(9.0)))
    error = np.sqrt(np.square(numbers.predict(series(9, seed=1)) - np.arange(9)).mean())
    assert numbers.history_[numbers.best_epoch_ - 1]["validation_metric"] == pytest.approx(-error, rel=1e-4)


@pytest.mark.parametrize(
    ("validation", "error", "message"),
    [
        (
            (series(3), ["left", "right", "down"]),
            DataError,
            "validation has the label down, which never occurs",
        ),
        ((series(3), ["left"]), ShapeError, "3 and 1"),
        ((series(3, channels=1), ["left"] * 3), ShapeError, "validation must have 2 channels, as X; got 1"),
        (
            (series(3),),
            ArgumentError,
            r"validation must be \(X, y\) or a data frame with a column label; got 1",
        ),
        (series(3), DataError, "y is missing"),
    ],
)
def test_validation_cases_that_do_not_fit(validation, error, message):
    with pytest.raises(error, match=message):
        classifier().fit(series(), labels(), validation=validation)


def test_the_device_is_an_argument():
    fitted = classifier(device="cpu").fit(series(), labels())
    assert fitted.model_.positions.device.type == "cpu"
    with pytest.raises(ArgumentError, match="device 'nowhere' cannot be used"):
        classifier(device="nowhere").fit(series(), labels())


def test_an_interrupted_fit_leaves_the_best_epoch_so_far(tmp_path):
    class Interrupt(Callback):
        def on_epoch_end(self, state):
            if state.epoch == self.last:
                raise KeyboardInterrupt

    interrupt = Interrupt()
    interrupt.last = 2
    fitted = classifier(callbacks=[interrupt], epochs=5)
    with pytest.raises(KeyboardInterrupt):
        fitted.fit(series(), labels())
    assert len(fitted.history_) == 2
    assert fitted.best_epoch_ in (1, 2)
    fitted.save(tmp_path / "m")
    assert fitted.predict_proba(series()).shape == (24, 3)


def test_a_fit_that_is_interrupted_at_once_leaves_nothing():
    class Interrupt(Callback):
        def on_train_begin(self, state):
            raise KeyboardInterrupt

    fitted = classifier(callbacks=[Interrupt()])
    with pytest.raises(KeyboardInterrupt):
        fitted.fit(series(), labels())
    with pytest.raises(NotFittedError):
        fitted.predict(series())
