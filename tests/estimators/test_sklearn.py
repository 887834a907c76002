import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from tests.estimators.helpers import classifier, labels, ragged, regressor, series

COLLECTIONS = [series(), ragged()]


def twice(X):
    return [2 * one for one in X] if isinstance(X, list) else 2 * X


def test_clone_has_the_parameters_and_nothing_learnt():
    fitted = classifier(attention="bn").fit(series(), labels())
    copy = clone(fitted)
    assert copy.get_params() == fitted.get_params()
    assert not hasattr(copy, "model_")


@pytest.mark.parametrize("X", COLLECTIONS)
def test_cross_validation(X):
    scores = cross_val_score(classifier(), X, labels(), cv=2, error_score="raise")
    assert ((scores >= 0) & (scores <= 1)).all()
    assert cross_val_predict(regressor(), X, np.arange(24.0), cv=2).shape == (24,)
    assert cross_val_predict(classifier(), X, labels(), cv=2, method="predict_proba").shape == (24, 3)


@pytest.mark.parametrize("X", COLLECTIONS)
def test_grid_search_over_attention_and_precision(X):
    grid = {"attention": ["softmax", "bn"], "mixed_precision": ["no", "bf16"]}
    search = GridSearchCV(classifier(epochs=1), grid, cv=2, error_score="raise").fit(X, labels())
    assert search.best_params_["attention"] in grid["attention"]
    assert search.predict(X).shape == (24,)


@pytest.mark.parametrize("X", COLLECTIONS)
def test_pipeline(X):
    pipeline = make_pipeline(FunctionTransformer(twice), classifier()).fit(X, labels())
    expected = classifier().fit(twice(X), labels()).predict(twice(X))
    assert (pipeline.predict(X) == expected).all()
    assert 0 <= pipeline.score(X, labels()) <= 1
