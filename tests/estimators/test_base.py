import copy
import io
import pickle

import joblib
import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError

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
