from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from primaldual.experiments.statistics import paired_difference, spread


def test_interval_agrees_with_scipys_paired_test():
    generator = np.random.default_rng(0)
    values, baseline = generator.normal(0.9, 0.02, 6), generator.normal(0.88, 0.02, 6)
    expected = stats.ttest_rel(values, baseline).confidence_interval(0.95)
    found = paired_difference(values, baseline)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.count == 6


def test_one_seed_has_no_deviation_and_no_interval():
    assert spread([0.5]).deviation is None
    assert spread([0.5]).text(1, 100) == "50.0"
    found = paired_difference([0.6], [0.5])
    assert (found.low, found.high) == (None, None)
    assert found.mean == pytest.approx(0.1)
    assert "no interval" in found.verdict


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ([0.9, 0.91, 0.92], "above the baseline"),
        ([0.7, 0.71, 0.72], "below the baseline"),
        ([0.8, 0.82, 0.83], "no clear difference"),
        ([0.81, 0.82, 0.80], "the same for every seed: no interval"),
    ],
)
def test_verdicts(values, verdict):
    assert paired_difference(values, [0.81, 0.82, 0.80]).verdict == verdict


def test_pairing_matters():
    hard_and_easy = np.array([0.5, 0.7, 0.9])
    found = paired_difference(hard_and_easy + np.array([0.010, 0.011, 0.012]), hard_and_easy)
    assert found.low > 0
    assert spread(hard_and_easy.tolist()).deviation > 0.1
