from aeon.testing.estimator_checking import parametrize_with_checks

from primaldual.estimators import (
    AttentionClassifier,
    AttentionRegressor,
    AttentionRidgeClassifier,
    AttentionRidgeRegressor,
)


@parametrize_with_checks(
    [AttentionClassifier, AttentionRegressor, AttentionRidgeClassifier, AttentionRidgeRegressor]
)
def test_aeon_check(check):
    check()
