"""Classifiers and regressors behind the interface of aeon and scikit-learn."""

from primaldual.estimators.attention_svr import AttentionSVR
from primaldual.estimators.classifier import AttentionClassifier
from primaldual.estimators.regressor import AttentionRegressor
from primaldual.estimators.ridge_classifier import AttentionRidgeClassifier
from primaldual.estimators.ridge_regressor import AttentionRidgeRegressor

__all__ = [
    "AttentionClassifier",
    "AttentionRegressor",
    "AttentionRidgeClassifier",
    "AttentionRidgeRegressor",
    "AttentionSVR",
]
