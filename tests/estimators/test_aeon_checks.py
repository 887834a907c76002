from aeon.testing.estimator_checking import parametrize_with_checks

from primaldual.estimators import AttentionClassifier, AttentionRegressor


@parametrize_with_checks([AttentionClassifier, AttentionRegressor])
def test_aeon_check(check):
    check()
